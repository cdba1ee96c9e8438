"""Plain PyTorch and data code; imports no Prefect."""
