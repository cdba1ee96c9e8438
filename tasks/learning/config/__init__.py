"""The experiment: one module a part of its configuration."""
