"""Changes to how Prefect's client behaves: connections, limits, responses that are not Prefect's, threads that die."""
