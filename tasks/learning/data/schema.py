"""The columns of the dataset: every source makes them, and everything else reads them by these names."""

#: The number of a row, from 0 (int64), by which its predictions are found again.
ROW = "row"

#: What a model reads and what it predicts (float32).
FEATURE, TARGET = "x", "y"
