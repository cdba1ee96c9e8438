"""What the tests of the learning code share: presets, their data as tensors, and fits of them."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.learning.config.experiment import Experiment
from tasks.learning.data.columns import to_column
from tasks.learning.data.lines import line_table
from tasks.learning.splitting.parts import split_rows

PRESETS = Path(__file__).parents[2] / "flows" / "presets"

Batch = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(scope="session")
def preset() -> Callable[..., Experiment]:
    """Loads a preset, with sections changed: `preset("line", training={"epochs": 3})`."""

    def load(name: str, **sections: dict[str, Any]) -> Experiment:
        settings = tomllib.loads((PRESETS / f"{name}.toml").read_text("utf-8"))
        for section, values in sections.items():
            settings[section] = settings.get(section, {}) | values
        settings["training"]["device"] = "cpu"
        return Experiment.model_validate(settings)

    return load


@pytest.fixture(scope="session")
def batches() -> Callable[[Experiment], dict[str, Batch]]:
    """Makes the parts of an experiment's data, as columns on the CPU."""

    def make(experiment: Experiment) -> dict[str, Batch]:
        parts = split_rows(line_table(experiment.data), experiment.split)
        return {
            part: tuple(to_column(rows[name].to_numpy().copy(), "cpu") for name in ("x", "y"))
            for part, rows in parts.items()
        }

    return make
