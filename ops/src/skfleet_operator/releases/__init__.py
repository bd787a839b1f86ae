"""What a fleet runs: the release, the desired release, and the environment around it."""
