"""What a managed instance group and its autoscaler decide, for the emulator and the planner."""
