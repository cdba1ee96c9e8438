"""The binary cross-entropy; what the model predicts are logits."""

from typing import Any

LABEL = "Binary cross-entropy (on logits)"
NAME = "binary cross-entropy"
TARGETS = (0.0, 1.0)


def batch_loss(prediction: Any, target: Any) -> Any:
    """The mean over a batch."""
    from torch.nn import functional

    return functional.binary_cross_entropy_with_logits(prediction, target)


def row_losses(target: Any, prediction: Any) -> Any:
    """The loss of each row: log(1 + e^logit) − target · logit, in the form that cannot overflow."""
    import numpy as np

    return np.logaddexp(0, prediction) - target * prediction
