"""Networks, their weights, and checkpoints."""
