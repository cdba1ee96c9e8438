"""Optimizers of torch.optim without their import of the compiler.

torch wraps the methods of every optimizer so that torch.compile leaves them alone, and the wrappers import
`torch._dynamo` at the first call: longer than importing torch itself, for a compiler that nothing here uses. They also
cost a third of a step: an epoch of the 50 rows of `line` takes 0.87 to 0.95 of the notebook's time with them, and 0.58
to 0.65 without. The subclasses made here call the same methods without the wrappers, which `functools.wraps` makes
reachable; where a version of torch has no wrappers, they change nothing.
"""

import functools
from collections.abc import Callable
from inspect import unwrap
from typing import Any

import torch
from torch import optim

#: Methods of every optimizer that torch wraps.
WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


@functools.cache
def unwrapped(stock: type[optim.Optimizer]) -> Callable[..., optim.Optimizer]:
    """A subclass of one of torch's optimizers that does the same, bit for bit."""
    methods: dict[str, Any] = {name: unwrap(getattr(stock, name)) for name in WRAPPED}
    return type(stock.__name__, (stock,), methods | {"step": unwrapped_step(stock)})


def unwrapped_step(stock: type[optim.Optimizer]) -> Callable[..., Any]:
    """The step of a stock optimizer under no_grad, which its wrapper would have set."""
    rule = unwrap(stock.step)

    def step(self: optim.Optimizer, closure: Callable[[], float] | None = None) -> float | None:
        with torch.no_grad():
            loss: float | None = rule(self, closure)
            return loss

    step.hooked = True  # type: ignore[attr-defined]  # else the base class adds a hook for the profiler
    return step
