"""How a stage is cached: key, fingerprint, decision, reasons, records, store, locks."""
