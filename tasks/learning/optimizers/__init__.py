"""The optimizers, a module each; see `tasks.learning.optimizers.registry`."""
