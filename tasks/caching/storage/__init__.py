"""Artifacts on disk: published atomically, never handed out altered."""
