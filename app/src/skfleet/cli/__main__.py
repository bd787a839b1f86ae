"""`python -m skfleet.cli`: the command where its script is not on PATH."""

from skfleet.cli import main

main()
