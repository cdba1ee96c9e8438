"""Deployments, what carries out their runs, and alerts."""
