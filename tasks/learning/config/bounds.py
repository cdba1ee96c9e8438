"""Bounds of settings that several sections share: seeds, float32, rows and epochs."""

from typing import Annotated

from pydantic import AllowInfNan, Field

#: The largest integer that the form in the Prefect UI can carry: a browser's numbers are float64, and it rounds others.
LARGEST_INTEGER = 2**53 - 1

Seed = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]

#: A seed of torch's generator on the CPU, which keeps 32 bits: of more, several seeds would draw the same parameters.
TorchSeed = Annotated[int, Field(ge=0, le=2**32 - 1)]

#: The largest finite float32.
LARGEST = (2 - 2**-23) * 2.0**127

#: A number that float32 can hold.
Float32 = Annotated[float, AllowInfNan(False), Field(ge=-LARGEST, le=LARGEST)]

#: Larger than any of use. Beyond, what an optimizer makes of them leaves float32 and ends in an error of torch.
LARGEST_STEP, LARGEST_DECAY = 1e34, 1e3

#: More epochs than this are taken for a slip; a history of as many takes 160 MB.
MOST_EPOCHS = 10_000_000

#: Of a model's hidden layers: their number, the units of one, and all their weights, which take 400 MB.
MOST_LAYERS, MOST_UNITS, MOST_PARAMETERS = 64, 16_384, 100_000_000

#: More rows than this in one generated table is taken for a slip in `step`, not for a wish.
MOST_ROWS = 100_000_000
