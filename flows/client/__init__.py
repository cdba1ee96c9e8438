"""How Prefect's client behaves here: its connections, answers that are not Prefect's, threads that die."""
