"""The losses, a module each; see `tasks.learning.losses.registry`."""
