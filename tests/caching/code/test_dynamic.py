"""What may be a stage: a function whose code is where its name says."""

import functools
from collections.abc import Callable
from typing import Any

import pytest

from tasks.caching.code.dynamic import UnseenCodeError
from tasks.caching.stage import StageConfig, stage


class NoConfig(StageConfig):
    """Sees nothing."""


def work(config: Any, inputs: Any, context: Any) -> dict[str, Any]:
    return {}


def unnamed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that returns a function of its own."""

    def run(*arguments: Any) -> Any:
        return function(*arguments)

    return run


def named(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator whose function says that it is the one that it wraps."""
    return functools.wraps(function)(unnamed(function))


def renamed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, without the trace that functools leaves."""
    wrapped = named(function)
    del wrapped.__wrapped__
    return wrapped


class Worker:
    """An object that can be called."""

    __name__ = __qualname__ = "work"  # type: ignore[assignment]

    def __call__(self, config: Any, inputs: Any, context: Any) -> dict[str, Any]:
        return {}

    def work(self, config: Any, inputs: Any, context: Any) -> dict[str, Any]:
        return {}


FUNCTIONS = {
    "a decorated one": unnamed(work),
    "a decorated one that has the name of what it wraps": named(work),
    "a decorated one that says nothing of what it wraps": renamed(work),
    "one that was wrapped by a library": functools.lru_cache(work),
    "a partial one": functools.partial(work, None),
    "a lambda": lambda config, inputs, context: {},
    "an object": Worker(),
    "a method": Worker().work,
    "one of a class": Worker.work,
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_a_function_whose_code_is_not_where_it_says_is_refused_as_a_stage(kind: str) -> None:
    with pytest.raises(UnseenCodeError, match=r"^stage .* is no function that is defined at the top level of a module"):
        stage(NoConfig, outputs=(), libraries=())(FUNCTIONS[kind])


def test_the_refusal_says_where_the_code_is() -> None:
    with pytest.raises(
        UnseenCodeError, match=r"^stage run .*test_dynamic\.py, line \d+\), .* Define the stage with `def`"
    ):
        stage(NoConfig, outputs=(), libraries=())(unnamed(work))


def test_a_plain_function_can_be_a_stage() -> None:
    assert stage(NoConfig, outputs=(), libraries=())(work).function is work
