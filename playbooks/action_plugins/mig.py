"""The module `mig`, run by the controller itself."""

import skfleet.compute.client  # noqa: F401 - once, before Ansible forks
from skfleet.rollouts.in_controller import InController


class ActionModule(InController):
    """See `library/mig.py`."""
