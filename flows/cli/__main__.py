"""`python -m flows.cli` is `workflow`."""

from flows.cli import main

main()
