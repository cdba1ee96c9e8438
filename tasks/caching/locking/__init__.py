"""Locks between processes, leases that show whether a process is alive, and one run of an experiment at a time."""
