"""Tables and tensors: made, written, read, split and put into batches."""
