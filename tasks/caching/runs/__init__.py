"""The folder of a run: manifest, list of digests, verification, pointers."""
