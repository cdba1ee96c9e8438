"""Networks, and their saved weights."""
