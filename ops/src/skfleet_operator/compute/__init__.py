"""The Compute Engine API, as far as a managed instance group and its load balancers go."""
