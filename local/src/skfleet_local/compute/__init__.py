"""The Compute API of the local project, and the control loop behind its managed instance groups."""
