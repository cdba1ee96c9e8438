"""What each stage does: one thin module a stage."""

from tasks.caching.code.sources import install

install()
