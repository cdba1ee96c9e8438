"""Missing features, filled in inside of a network: it reads features with gaps, as people have them.

So the saved weights need no other file. A missing feature is NaN.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tasks.errors import ExperimentError

#: The tensor of the state_dict that is measured, not learned.
FILL = "feature_fill"


class Imputed(nn.Module):
    """A network that gets the median of the training rows where a feature is missing."""

    #: Not learned: the medians, float32 of shape [features].
    feature_fill: Tensor

    def __init__(self, network: nn.Module, features: int, filled: Sequence[int], indicators: bool) -> None:
        """Fill in 0 as yet.

        Args:
            network: takes [rows, features], and after them the indicators, if there are any; gives [rows, 1].
            features: their number.
            filled: the places of those that may be missing.
            indicators: whether the network reads for each of those, as 0 or 1, whether it is missing.
        """
        super().__init__()
        self.network = network
        self._filled, self._indicators = list(filled), indicators
        self.register_buffer(FILL, torch.zeros(features))

    def measure(self, x: Tensor, names: Sequence[str]) -> None:
        """Fill in the medians of rows, those of the training part, from now on.

        Args:
            x: features, float32 of shape [rows, features]. The median of an even number of values is the lower of the
                two in the middle, so that it is one that occurs.
            names: of the features.

        Raises:
            ExperimentError: a feature is missing in all rows.
        """
        medians = torch.nanmedian(x, 0).values
        if empty := [names[place] for place in self._filled if torch.isnan(medians[place])]:
            raise ExperimentError(
                f"no training row has a value of {', '.join(empty)}: leave it out with data.exclude or data.features"
            )
        self.feature_fill.copy_(medians)

    def fill(self, x: Tensor) -> Tensor:
        """Features without gaps and their indicators, [rows, features + indicators], of features with gaps."""
        missing = torch.isnan(x)
        filled = torch.where(missing, self.feature_fill, x)
        return torch.cat((filled, missing[:, self._filled].float()), 1) if self._indicators else filled

    def forward(self, x: Tensor) -> Tensor:
        """The targets, [rows, 1], of features, [rows, features], some of which may be missing."""
        targets: Tensor = self.network(self.fill(x))
        return targets
