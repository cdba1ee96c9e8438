"""Predictions, metrics, and how far apart two results are."""
