"""Properties are tested with the same examples each time, and without a time limit: the machines are noisy."""

from hypothesis import settings

settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.load_profile("steady")
