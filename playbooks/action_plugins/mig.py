"""The module `mig`, run by the controller itself."""

import skfleet_operator.compute.client  # noqa: F401 - once, before Ansible forks
from skfleet_operator.rollouts.in_controller import InController


class ActionModule(InController):
    """See `library/mig.py`."""
