"""Ansible's output as converge wants it (found by its folder, never imported)."""
