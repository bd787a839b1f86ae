"""Does the fleet keep its SLOs at this load? Users, shapes, the gate and the report."""

from pathlib import Path

# The checkout, or the tree that the role `locust` copied to a generator.
TREE = Path(__file__).resolve().parents[2]
