"""Journeys of the tree with the real hashicorp/google provider: apply, change, destroy (README.md)."""
