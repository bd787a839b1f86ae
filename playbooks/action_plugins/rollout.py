"""The module `rollout`, run by the controller itself."""

import skfleet.rollouts.controller  # noqa: F401 - once, before Ansible forks
from skfleet.rollouts.in_controller import InController


class ActionModule(InController):
    """See `library/rollout.py`."""
