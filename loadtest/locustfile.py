"""What Locust loads, with or without its web page: users, the shape, and our part of its events.

Leader and workers each read this file. The leader's plan reaches the workers with Locust's own options.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

from locust import argument_parser, events, runners
from locust.env import Environment

sys.path[:0] = [
    str(Path(__file__).resolve().parent),
    *(str(Path(__file__).resolve().parents[1] / source) for source in ("app/src", "ops/src")),
]

from skfleet.declared import declared  # noqa: E402
from skfleet_loadtest import plan  # noqa: E402
from skfleet_loadtest.leader import Leader  # noqa: E402
from skfleet_loadtest.shapes import Shape  # noqa: E402, F401
from skfleet_loadtest.users import (  # noqa: E402
    BatchUser,  # noqa: F401
    FormUser,  # noqa: F401
    OriginalUser,  # noqa: F401
    RowsUser,  # noqa: F401
    TensorsUser,  # noqa: F401
)
from skfleet_loadtest.worker import FINISH, REPORT, Worker, is_worker  # noqa: E402

# A worker parses Locust's whole command line once for every option of every message that changes the rate:
# 0.3 s (2 s on a busy core) in which nothing is sent, at each step of a shape. The answer never changes.
argument_parser.default_args_dict = functools.cache(argument_parser.default_args_dict)
# Figures reach the leader every second: its watch and its shape go by them.
runners.WORKER_REPORT_INTERVAL = 1.0
# The client waits a little longer than the load balancer, whose 504 says more than our own timeout.
_GRACE_S = 1.0


@events.init_command_line_parser.add_listener
def declare(parser: Any) -> None:
    """The plan's options."""
    plan.declare(parser)


@events.init.add_listener
def wire(environment: Environment, **_: Any) -> None:
    """Give this process its part: leader, worker, or both."""
    objectives = declared().slo
    timeout_s = declared().edge.timeouts.request_s + _GRACE_S
    environment.stop_timeout = environment.stop_timeout or timeout_s + _GRACE_S
    runner: Any = environment.runner
    if not isinstance(runner, runners.WorkerRunner):
        leader = Leader(environment, objectives, timeout_s)
        environment.skfleet_leader = leader  # type: ignore[attr-defined]
        runner.register_message(REPORT, leader.receive)
        environment.events.test_start.add_listener(lambda **_: leader.start())
        environment.events.test_stopping.add_listener(lambda **_: leader.conclude())
    if is_worker(runner):

        def start(**_: Any) -> None:
            fast_s = objectives.objectives.latency.threshold_ms / 1000
            environment.skfleet = Worker(environment, fast_s, timeout_s)  # type: ignore[attr-defined]

        def finish(**_: Any) -> None:
            worker: Worker | None = getattr(environment, "skfleet", None)
            if worker is not None:
                worker.finish()

        runner.register_message(
            FINISH, finish, concurrent=not isinstance(runner, runners.LocalRunner)
        )
        environment.events.test_start.add_listener(start)
        environment.events.test_stopping.add_listener(finish)
