"""What a VM runs beside the service: converge, refresh, the launcher of the service."""
