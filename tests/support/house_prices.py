"""A table of house prices, as people hold it in a notebook, and an experiment on it."""

import numpy as np
import pandas as pd

#: Rows of the table, whose price follows from three columns, but for noise.
ROWS = 200

EXPERIMENT = """
[data]
kind = "table"
path = "houses.csv"
target = "price"
exclude = ["city"]
[split]
method = "shuffled"
train = 0.7
validation = 0.1
[model]
kind = "linear"
scale_features = "standard"
scale_target = "min-max"
[training]
loss = "mse"
optimizer = "adam"
learning_rate = 0.05
epochs = 40
device = "cpu"
"""


def houses() -> pd.DataFrame:
    """A table with numbers, whole numbers, truth values and texts."""
    draw = np.random.default_rng(7)
    area, rooms, garden = draw.uniform(30, 200, ROWS).round(1), draw.integers(1, 8, ROWS), draw.random(ROWS) < 0.4
    price = (60_000 + 2_800 * area + 9_000 * rooms + 15_000 * garden + draw.normal(0, 5_000, ROWS)).round()
    return pd.DataFrame({"area": area, "rooms": rooms, "city": "Bonn", "garden": garden, "price": price})
