"""The model section: one class for all kinds of model, because their settings overlap.

A union of a class a kind would refuse files that work: `weight_name` in a preset stays when the command line asks for
another `kind`, where it means nothing, and the form shows every setting once. So a kind is a line of `MODELS`, and a
setting says by a rule (`MattersIf`) to which kinds it matters. How the kinds are built is registered in
`tasks.learning.models.networks`.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.learning.config.bounds import Float32
from tasks.learning.config.descriptions import describe_choices
from tasks.learning.config.section import Choice, Section
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
}

#: The kinds that are a line, whose weight and bias may be given.
LINES = ("parameters", "linear")

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
    scale_features: Annotated[Scaling, MattersIf(lambda model: model.scale_features != "none")] = Field(
        "none", description=f"How the model scales its features, by the training rows: {SCALINGS}."
    )
    scale_target: Annotated[Scaling, MattersIf(lambda model: model.scale_target != "none")] = Field(
        "none",
        description=f"How the model scales the target inside: {SCALINGS}. Its predictions are in the target's units.",
    )

    @field_validator("weight_name", "bias_name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
            raise ValueError("must be a lower-case Python name of at most 64 letters, digits and underscores")
        if name in MODULE_NAMES:
            raise ValueError(f"{name!r} is taken: every nn.Module has an attribute of that name")
        return name

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
