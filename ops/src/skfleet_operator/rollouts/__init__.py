"""Rollouts: lease, plan, the gate's verdict, evidence. The playbooks act; here it is decided."""
