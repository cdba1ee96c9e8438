"""The project's own Prefect server: its process, its password, its guard and its database."""
