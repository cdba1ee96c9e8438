"""The fingerprint of a stage's code, and the code as this process runs it."""
