"""What happens while a flow runs: engine, session, events, observers, concurrency, zombie runs."""
