"""A recorded rollout again, on the local fleet: the same releases, batches and mishaps, and what differs."""
