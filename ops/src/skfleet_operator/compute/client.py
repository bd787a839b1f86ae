"""The REST client: one region's group, its autoscaler, its VMs and their backend services.

A change is waited for until its operation is done. Reads, and changes that carry a `requestId` so that
Google does them once, are tried again when the API cannot be reached or is overloaded.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

import msgspec
import requests

from skfleet.errors import ConfigurationError
from skfleet_operator import google_rest
from skfleet_operator.compute.errors import (
    ComputeMissing,
    ComputeRefused,
    DeadlinePassed,
    FingerprintChanged,
    of_call,
    of_errors,
)
from skfleet_operator.compute.model import (
    Autoscaler,
    Group,
    HealthStatus,
    Instance,
    Managed,
    Operation,
    short_template,
)

ENDPOINT = "https://compute.googleapis.com/compute/v1"
# `operations.wait` holds a call for up to two minutes.
WAIT_TIMEOUT_S = 150.0
OPERATION_S = 600.0

T = TypeVar("T")


class Compute:
    """The API as google-auth's default credentials, for one project and region."""

    def __init__(
        self,
        project: str,
        region: str,
        endpoint: str = "",
        session: requests.Session | None = None,
    ) -> None:
        for what, text, pattern in (
            ("project", project, r"[a-z0-9][a-z0-9.:-]*"),
            ("region", region, r"[a-z0-9][a-z0-9-]*"),
            ("endpoint", endpoint, r"(?:https?://[A-Za-z0-9.:/_\[\]-]+)?"),
        ):
            if not re.fullmatch(pattern, text):
                raise ConfigurationError(f"Invalid {what} {text!r}: expected {pattern}.")
        self._base = f"{(endpoint or ENDPOINT).rstrip('/')}/projects/{project}"
        self._region = f"{self._base}/regions/{region}"
        self._given = session

    @cached_property
    def _session(self) -> requests.Session:
        return self._given if self._given is not None else google_rest.authorize()[0]

    # Groups

    def group(self, name: str) -> Group:
        """regionInstanceGroupManagers.get"""
        return _typed(self._call("GET", self._manager(name)), Group)

    def managed(self, group: str) -> list[Managed]:
        """regionInstanceGroupManagers.listManagedInstances, all pages."""
        url = f"{self._manager(group)}/listManagedInstances"
        return [_typed(item, Managed) for item in self._pages("POST", url, "managedInstances")]

    def recreate(self, group: str, instances: Sequence[str]) -> None:
        """regionInstanceGroupManagers.recreateInstances: same names, from their templates."""
        self._on_instances(group, "recreateInstances", instances)

    def delete(self, group: str, instances: Sequence[str]) -> None:
        """regionInstanceGroupManagers.deleteInstances: the target size shrinks with them."""
        self._on_instances(group, "deleteInstances", instances)

    def resize(self, group: str, size: int) -> None:
        """regionInstanceGroupManagers.resize"""
        self._change("POST", f"{self._manager(group)}/resize", size=str(size))

    def set_versions(
        self,
        group: str,
        versions: Sequence[Mapping[str, Any]],
        attempts: int = 2,
        *,
        only_ask: bool = False,
    ) -> bool:
        """regionInstanceGroupManagers.patch of `versions`; False where they are so already.

        The fingerprint that was read goes with it: where somebody changed the group meanwhile it is
        read again once, and then FingerprintChanged is raised. `only_ask` says what would be, and
        changes nothing.
        """
        for attempt in range(attempts):
            found = self._call("GET", self._manager(group))
            if _comparable(found.get("versions", [])) == _comparable(versions):
                return False
            if only_ask:
                return True
            body = {"versions": list(versions), "fingerprint": found["fingerprint"]}
            try:
                self._change("PATCH", self._manager(group), body)
            except FingerprintChanged:
                if attempt == attempts - 1:
                    raise
            else:
                return True
        raise AssertionError("unreachable")

    def check_template(self, link: str) -> None:
        """instanceTemplates.get, global or regional; raises ComputeMissing where there is none."""
        self._call("GET", f"{self._base.partition('/projects/')[0]}/{short_template(link)}")

    # Autoscaler

    def autoscaler(self, group: str) -> Autoscaler | None:
        """The autoscaler whose target is the group, by regionAutoscalers.list; None without one."""
        for item in self._pages("GET", f"{self._region}/autoscalers", "items"):
            if str(item.get("target", "")).endswith(f"/instanceGroupManagers/{group}"):
                return _typed(item, Autoscaler)
        return None

    def set_autoscaler(self, name: str, *, mode: str, minimum: int) -> None:
        """regionAutoscalers.patch of mode and minimum; everything else stays as it is."""
        policy = {"mode": mode, "minNumReplicas": minimum}
        body = {"name": name, "autoscalingPolicy": policy}
        self._change("PATCH", f"{self._region}/autoscalers", body, autoscaler=name)

    # VMs and load balancers

    def instance(self, zone: str, name: str) -> Instance:
        """instances.get"""
        return _typed(self._call("GET", f"{self._base}/zones/{zone}/instances/{name}"), Instance)

    def guest_attributes(self, zone: str, name: str, query: str) -> dict[str, str]:
        """instances.getGuestAttributes below a path: key → value. Empty where there are none."""
        url = f"{self._base}/zones/{zone}/instances/{name}/getGuestAttributes"
        try:
            answer = self._call("GET", url, queryPath=query)
        except ComputeMissing:
            return {}
        items = (answer.get("queryValue") or {}).get("items") or []
        return {str(item["key"]): str(item["value"]) for item in items}

    def backend_health(self, name: str, group: Group, *, regional: bool) -> dict[str, str]:
        """backendServices.getHealth of the group: VM name → `healthState`."""
        scope = self._region if regional else f"{self._base}/global"
        url = f"{scope}/backendServices/{name}/getHealth"
        answer = self._call("POST", url, {"group": group.instance_group})
        states = msgspec.convert(answer.get("healthStatus") or [], list[HealthStatus])
        return {state.instance.rpartition("/")[2]: state.health_state for state in states}

    # Calls

    def _manager(self, name: str) -> str:
        return f"{self._region}/instanceGroupManagers/{name}"

    def _on_instances(self, group: str, what: str, instances: Iterable[str]) -> None:
        wanted = set(instances)
        links = [vm.instance for vm in self.managed(group) if vm.short in wanted]
        if len(links) != len(wanted):
            there = {link.rpartition("/")[2] for link in links}
            raise ComputeRefused(
                f"Group '{group}' has no VM {', '.join(sorted(wanted - there))}.",
                where=self._manager(group),
                hint="playbooks/status.yml lists its VMs.",
            )
        self._change("POST", f"{self._manager(group)}/{what}", {"instances": sorted(links)})

    def _change(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, **params: str
    ) -> None:
        # The same id at each attempt: Google does it once.
        params["requestId"] = str(uuid.uuid4())
        operation = _typed(self._call(method, url, body, **params), Operation)
        deadline = time.monotonic() + OPERATION_S
        while operation.status != "DONE":
            if time.monotonic() > deadline:
                raise DeadlinePassed(
                    f"The operation is {operation.status} after {OPERATION_S:.0f} s.",
                    where=operation.self_link,
                    hint="It goes on by itself; look at it again later.",
                )
            answer = self._call("POST", f"{operation.self_link}/wait")
            operation = _typed(answer, Operation)
        if errors := operation.error.get("errors"):
            raise of_errors(errors, where=url)

    def _pages(self, method: str, url: str, field: str) -> Iterable[dict[str, Any]]:
        return google_rest.pages(lambda more: self._call(method, url, None, **more), field)

    def _call(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, **params: str
    ) -> dict[str, Any]:
        timeout_s, patience_s = google_rest.TIMEOUT_S, google_rest.PATIENCE_S
        if url.endswith("/wait"):  # one that breaks at its end is tried again, too
            timeout_s, patience_s = WAIT_TIMEOUT_S, WAIT_TIMEOUT_S + patience_s
        try:
            return google_rest.call(
                self._session, method, url, body, params, timeout_s=timeout_s, patience_s=patience_s
            )
        except google_rest.CallFailed as error:
            raise of_call(error) from None


def _typed(document: Mapping[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise ComputeRefused(
            f"An answer has not the published form: {error}.",
            where=str(document.get("selfLink", kind.__name__)),
        ) from None


def _comparable(versions: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """Templates by name, with their sizes as asked for; `calculated` is the API's own."""
    return [
        (
            short_template(str(version["instanceTemplate"])),
            {k: v for k, v in (version.get("targetSize") or {}).items() if k != "calculated"},
        )
        for version in versions
    ]
