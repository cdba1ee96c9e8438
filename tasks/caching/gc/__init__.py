"""Garbage collection, inspection and repair of a store."""
