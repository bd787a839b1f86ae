"""`skfleet doctor`: what a fleet needs of its Google Cloud project, looked at one thing at a time."""
