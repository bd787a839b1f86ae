"""Locust's shape of a run: the plan's profile, tick by tick."""

from __future__ import annotations

import time
from typing import Any

from locust import LoadTestShape, User

from skfleet_loadtest.leader import Leader
from skfleet_loadtest.plan import Plan
from skfleet_loadtest.users import of_profile

# Figures are kept by whole seconds: the last of a profile is over before users are told to go.
_TAIL_S = 1.5


class Shape(LoadTestShape):
    """Warm-up, the profile, the end; or the end at once when the leader says so."""

    def tick(self) -> tuple[int, float, list[type[User]] | None] | None:
        """(users, users a second, classes), or None at the end."""
        runner: Any = self.runner
        environment = runner.environment
        leader: Leader = environment.skfleet_leader
        plan = Plan.parse(vars(environment.parsed_options))
        profile = plan.profile
        since = time.perf_counter() - self.start_time - plan.warm_up
        if leader.aborted or since >= profile.duration_s + _TAIL_S:
            return None
        users = profile.rate(max(since, 0.0))
        # All of them in one go, up or down: a rate that creeps is not the rate that was asked for.
        return users, float(profile.peak), of_profile(profile.closed, runner.user_classes)
