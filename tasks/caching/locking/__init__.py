"""What two processes must not do at once: locks, claims, exclusion, and what running flows use."""
