"""How the rows are divided into parts, and the proof that nothing of one part is in another."""
