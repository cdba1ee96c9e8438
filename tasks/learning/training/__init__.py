"""Fitting a network: the loop, the lr schedule, the history, training checkpoints."""
