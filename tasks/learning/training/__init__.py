"""Fitting a network: loop, losses, optimizers, resumable state."""
