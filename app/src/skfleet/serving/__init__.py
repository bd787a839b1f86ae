"""The service on every VM: predictions over HTTP, from models proven before the first request."""
