"""Calling a fleet: identity tokens and predictions, for people, scripts and the demo."""
