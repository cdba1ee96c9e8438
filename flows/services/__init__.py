"""Long-running programs: Prefect's server, `workflow serve`, the report server."""
