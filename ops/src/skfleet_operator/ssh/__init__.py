"""How an operator logs in to VMs: a short-lived key that OS Login knows, and what Ansible reads of it."""
