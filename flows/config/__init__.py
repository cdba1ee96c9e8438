"""Experiment files and schedules: from text to a validated experiment."""
