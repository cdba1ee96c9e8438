"""Errors that tell of the experiment and not of the code: their message says what to change."""


class ExperimentError(Exception):
    """What an experiment asks for does not work out; another try of the same ends likewise."""
