"""`python -m skfleet_operator.cli`: the command where its script is not on PATH."""

from skfleet_operator.cli import main

main()
