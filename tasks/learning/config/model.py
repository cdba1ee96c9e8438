"""The model section: one class for all kinds of model, because their settings overlap.

A union of a class a kind would refuse files that work: `weight_name` in a preset stays when the command line asks for
another `kind`, where it means nothing, and the form shows every setting once. So a kind is a line of `MODELS`, and a
setting says by a rule (`MattersIf`) to which kinds it matters. How the kinds are built is registered in
`tasks.learning.models.networks`.
"""

import math
import re
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.learning.config.bounds import MOST_LAYERS, MOST_PARAMETERS, MOST_UNITS, Float32
from tasks.learning.config.columns import EVERY_COLUMN, require_column_name
from tasks.learning.config.descriptions import describe_choices
from tasks.learning.config.section import Choice, Real, Section
from tasks.relevance import MattersIf

PARAMETER_NAME = "A lower-case letter, then at most 63 lower-case letters, digits and underscores."

#: What every nn.Module has already, so that no parameter can be named so. Listed, since torch is not imported here.
MODULE_NAMES = frozenset(
    """
    add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval extra_repr
    float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict modules mtia
    named_buffers named_children named_modules named_parameters parameters register_backward_hook register_buffer
    register_forward_hook register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule
    share_memory state_dict to to_empty train training type xpu zero_grad
    """.split()  # noqa: SIM905 (a list of 53 quoted names is longer, and no clearer)
)


#: The kinds of model, each with what it is.
MODELS = {
    "parameters": "a line of two nn.Parameters of shape [1]",
    "linear": "a line, nn.Linear held as linear_layer; of several features, a plane",
    "mlp": "a multilayer perceptron, hidden layers of units",
}

#: The kinds that are a line, whose weight and bias may be given.
LINES = ("parameters", "linear")

#: The rule for a setting that only the kind mlp has.
IF_MLP = MattersIf(lambda model: model.kind == "mlp")

#: How a column is scaled.
Scaling = Literal["none", "standard", "min-max"]
SCALINGS = "none; standard, to mean 0 and standard deviation 1; min-max, to 0 … 1"


class Model(Section):
    """The model, which predicts one target by one feature or several."""

    kind: Annotated[str, Choice(MODELS), Field(description=describe_choices("What is fitted", MODELS))] = "parameters"
    weight_name: Annotated[str, MattersIf(lambda model: model.kind == "parameters")] = Field(
        "weights", description=f"Name of the first nn.Parameter, for the kind parameters. {PARAMETER_NAME}"
    )
    bias_name: Annotated[str, MattersIf(lambda model: model.kind == "parameters")] = Field(
        "bias", description=f"Name of the second nn.Parameter, for the kind parameters. {PARAMETER_NAME}"
    )
    initial_weight: Float32 | None = Field(None, description="Initial weight of a line, in place of a random one.")
    initial_bias: Float32 | None = Field(None, description="Initial bias of a line, in place of a random one.")
    hidden: Annotated[list[Annotated[int, Field(ge=1, le=MOST_UNITS)]], IF_MLP] = Field(
        [64, 64],
        min_length=1,
        max_length=MOST_LAYERS,
        description="Units of each hidden layer, for the kind mlp, such as 64, 64. "
        f"1 to {MOST_LAYERS} layers of 1 to {MOST_UNITS:,} units.",
    )
    activation: Annotated[Literal["relu", "gelu", "silu", "tanh"], IF_MLP] = Field(
        "relu", description="What bends the output of a hidden layer, for the kind mlp: relu, gelu, silu or tanh."
    )
    normalization: Annotated[Literal["none", "batch", "layer"], IF_MLP] = Field(
        "none",
        description="How the units of a hidden layer are normalized before the activation, for the kind mlp: none; "
        "batch, over the rows of a batch; layer, over the units of a row.",
    )
    dropout: Annotated[Real, IF_MLP] = Field(
        0.0, ge=0, lt=1, description="Probability with which an update leaves out a hidden unit, for the kind mlp."
    )
    residual: Annotated[bool, IF_MLP] = Field(
        False,
        description="Whether the input of a hidden layer is added to its output, for the kind mlp; "
        "where both are of one width.",
    )
    impute: Annotated[list[str], MattersIf(lambda model: bool(model.impute))] = Field(
        [],
        description="Features that may be missing: the model fills in the median of the training rows. "
        f"{EVERY_COLUMN} stands for all features.",
    )
    missing_indicators: Annotated[bool, MattersIf(lambda model: bool(model.impute) and model.missing_indicators)] = (
        Field(False, description="Whether the model also reads whether a feature that it fills in was missing.")
    )
    scale_features: Annotated[Scaling, MattersIf(lambda model: model.scale_features != "none")] = Field(
        "none", description=f"How the model scales its features, by the training rows: {SCALINGS}."
    )
    scale_target: Annotated[Scaling, MattersIf(lambda model: model.scale_target != "none")] = Field(
        "none",
        description=f"How the model scales the target inside: {SCALINGS}. Its predictions are in the target's units.",
    )

    @property
    def normalizes_batches(self) -> bool:
        """Whether it normalizes over the rows of a batch, which must then be more than one."""
        return self.kind == "mlp" and self.normalization == "batch"

    @field_validator("weight_name", "bias_name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
            raise ValueError("must be a lower-case Python name of at most 64 letters, digits and underscores")
        if name in MODULE_NAMES:
            raise ValueError(f"{name!r} is taken: every nn.Module has an attribute of that name")
        return name

    @field_validator("impute")
    @classmethod
    def _are_column_names(cls, names: list[str]) -> list[str]:
        for name in names:
            require_column_name(name)
        return names

    @field_validator("hidden")
    @classmethod
    def _fits_into_memory(cls, hidden: list[int]) -> list[int]:
        if (count := sum(map(math.prod, pairwise(hidden)))) > MOST_PARAMETERS:
            raise ValueError(f"has {count:,} weights; at most {MOST_PARAMETERS:,} are allowed: take fewer units")
        return hidden

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if self.weight_name == self.bias_name:
            raise ValueError(f"weight_name and bias_name must differ (both are {self.bias_name!r})")
        return self

    @model_validator(mode="after")
    def _has_initial_values_only_for_a_line(self) -> Self:
        for name in ("initial_weight", "initial_bias"):
            if self.kind not in LINES and getattr(self, name) is not None:
                raise ValueError(f"{name} belongs to the kinds {' and '.join(LINES)}, not to {self.kind}")
        return self
