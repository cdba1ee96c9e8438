"""What runs: one module a flow, and the command line."""

from tasks.caching.code.sources import install

install()
