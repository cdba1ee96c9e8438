"""The project's own Prefect server: its process, its password, its middleware and its database."""
