"""Errors of the experiment and not of the code: their message says what to change."""


class ExperimentError(Exception):
    """An experiment cannot be carried out as it is; a retry would fail in the same way."""
