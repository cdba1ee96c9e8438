"""Deployments, the processes that execute their runs, and alerts."""
