"""What people read about losses; apart from the losses themselves, so that drawing one does not import torch."""

#: What `training.loss` measures, as an axis or a table calls it.
LOSS_LABELS = {
    "l1": "L1 loss (mean absolute error)",
    "mse": "MSE loss (mean squared error)",
    "huber": "Huber loss (delta 1)",
    "bce": "Binary cross-entropy (on logits)",
}
