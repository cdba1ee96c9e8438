"""What runs: one module a flow, and the command line."""

from tasks.caching.sources import install

install()
