"""What runs on the operator's machine: the `skfleet` command and what the playbooks import."""
