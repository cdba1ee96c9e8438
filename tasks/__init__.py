"""What each stage does: one thin module a stage."""

from tasks.caching.sources import install

install()
