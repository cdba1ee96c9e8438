"""Programs that keep running: Prefect's server, `workflow serve`, the report server."""
