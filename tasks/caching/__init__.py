"""How a stage is cached: key, fingerprint, store, locks, explanation."""
