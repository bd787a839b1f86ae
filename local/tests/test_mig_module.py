"""The Ansible module `mig` against a group of stub VMs: what it does, says, and leaves alone."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from skfleet_local import client, keys
from skfleet_local.accounts import ACCOUNTS
from skfleet_local.compute.project import (
    AUTOSCALER,
    EXTERNAL_BACKEND,
    GROUP,
    INTERNAL_BACKEND,
    TEMPLATE,
)
from skfleet_testing.discovery import Witness

pytestmark = pytest.mark.fleet

MODULE = Path(__file__).resolve().parents[2] / "playbooks/library/mig.py"
WAIT = 60


@pytest.fixture(scope="module")
def fleet(start_fleet: Callable[..., Any]) -> Any:
    """Three stub VMs, and nobody who changes their number but the test."""
    started = start_fleet("--vms", "3", "--time-scale", "20")
    token = client.access_token(started.run, ACCOUNTS["deployer"])
    compute = client.Compute(started.state.addresses, token)
    url = f"{compute.links.region}/autoscalers?autoscaler={AUTOSCALER}"
    compute.change(url, {"autoscalingPolicy": {"mode": "OFF"}}, method="PATCH")
    return started


@pytest.fixture(scope="module")
def module() -> Any:
    spec = importlib.util.spec_from_file_location("mig", MODULE)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


Mig = Callable[..., dict[str, Any]]


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Witness:
    """Every call that any session of this process makes to the Compute API."""
    import requests

    found, get_adapter = Witness(), requests.Session.get_adapter
    monkeypatch.setattr(
        requests.Session,
        "get_adapter",
        lambda self, url: found if "/compute/v1/" in url else get_adapter(self, url),
    )
    return found


@pytest.fixture
def mig(
    fleet: Any,
    module: Any,
    witness: Witness,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Mig:
    """`mig` as a task runs it, as the local operator; what it prints, its changes told from its looks."""
    for name, value in fleet.environment().items():
        monkeypatch.setenv(name, value)
    environment = fleet.environment()

    def run(action: str, *, check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {
            "endpoint": environment["SKFLEET_COMPUTE_ENDPOINT"],
            "project": environment["GOOGLE_CLOUD_PROJECT"],
            "region": environment["SKFLEET_REGION"],
            "group": GROUP,
            "backends": [
                {"name": EXTERNAL_BACKEND},
                {"name": INTERNAL_BACKEND, "regional": True},
            ],
            "action": action,
            "interval_s": 0.1,
            "_ansible_check_mode": check,
            **options,
        }
        witness.seen.clear()
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.run(AnsibleModule(**module.SPECIFICATION, supports_check_mode=True))
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        answer["changes"] = [
            seen.path.rpartition("/")[2] for seen in witness.seen if seen.request_id
        ]
        witness.assert_published()
        return answer

    return run


@pytest.fixture
def at_rest(fleet: Any, mig: Mig) -> Any:
    """Three VMs that serve, and again afterwards."""
    assert mig("wait_serving", size=3, wait_s=WAIT)["serving"]
    yield
    for what in ("quota", "stockout", "operations", "api"):
        fleet.command("break", what, "--end")
    assert not mig("resize", size=3, wait_s=WAIT).get("failed")


def names(mig: Mig) -> list[str]:
    return sorted(vm["name"] for vm in mig("info")["instances"])


def test_info_says_what_a_rollout_looks_at(
    mig: Mig, at_rest: Any, eventually: Callable[..., Any]
) -> None:
    eventually("the group is at rest", WAIT, lambda: mig("info")["group"]["stable"])
    info = mig("info")
    assert not info["changed"]
    assert not info["changes"]
    assert info["group"]["target_size"] == 3
    assert info["group"]["stable"]
    assert [v["template"].rpartition("/")[2] for v in info["group"]["versions"]] == [TEMPLATE]
    assert info["autoscaler"]["mode"] == "OFF"
    assert (info["autoscaler"]["min"], info["autoscaler"]["max"]) == (3, 6)
    assert len({vm["zone"] for vm in info["instances"]}) == 3
    for vm in info["instances"]:
        assert (vm["status"], vm["action"], vm["health"]) == ("RUNNING", "NONE", "HEALTHY")
        assert vm["address"].startswith("127.")
        assert not vm["errors"]
        assert [view[vm["name"]] for view in info["backends"].values()] == ["HEALTHY"] * 2


CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("autoscaler", {"mode": "ONLY_SCALE_OUT", "minimum": 2}, "autoscalers"),
    ("resize", {"size": 4}, "resize"),
    ("recreate", {"instances": 1}, "recreateInstances"),
    ("delete", {"instances": 1}, "deleteInstances"),
    ("versions", {"versions": [{"template": "other"}]}, GROUP),
]


@pytest.mark.parametrize(("action", "options", "call"), CHANGES)
def test_check_mode_says_what_would_change_and_changes_nothing(
    mig: Mig, at_rest: Any, action: str, options: dict[str, Any], call: str
) -> None:
    if "instances" in options:
        options = {"instances": names(mig)[:1]}
    before = mig("info")
    if "versions" in options:  # of a template that is there
        own = before["group"]["versions"][0]["template"]
        options = {"versions": [{"template": own, "size": 1}, {"template": own}]}
    said = mig(action, check=True, **options)
    assert said["changed"], said
    assert not said["changes"]
    assert mig("info")["instances"] == before["instances"]
    assert mig("info")["autoscaler"] == before["autoscaler"]


def test_the_autoscaler_is_set_once_and_given_back(mig: Mig, at_rest: Any) -> None:
    wanted = {"mode": "ONLY_SCALE_OUT", "minimum": 2}
    first = mig("autoscaler", **wanted)
    assert first["changed"]
    assert first["before"] == {"mode": "OFF", "min": 3}
    assert first["changes"] == ["autoscalers"]
    again = mig("autoscaler", **wanted)
    assert not again["changed"]
    assert not again["changes"]
    assert mig("info")["autoscaler"]["max"] == 6, "what is not named stays"
    only_mode = mig("autoscaler", mode="OFF")
    assert only_mode["after"] == {"mode": "OFF", "min": 2}
    back = mig("autoscaler", minimum=3)
    assert back["after"] == {"mode": "OFF", "min": 3}


def test_recreating_waits_for_a_vm_that_is_another(mig: Mig, at_rest: Any) -> None:
    before = {vm["name"]: vm["id"] for vm in mig("info")["instances"]}
    name = sorted(before)[0]
    done = mig("recreate", instances=[name], wait_s=WAIT)
    assert done["changed"], done
    after = {vm["name"]: vm["id"] for vm in mig("info")["instances"]}
    assert after.keys() == before.keys()
    assert {vm for vm in after if after[vm] != before[vm]} == {name}
    assert not mig("recreate", instances=[])["changed"]


def test_deleting_shrinks_the_group_once(mig: Mig, at_rest: Any) -> None:
    name = names(mig)[0]
    assert mig("delete", instances=[name], wait_s=WAIT)["changed"]
    assert name not in names(mig)
    assert mig("info")["group"]["target_size"] == 2
    again = mig("delete", instances=[name], wait_s=WAIT)
    assert not again["changed"]
    assert not again["changes"]


def test_resizing_waits_until_the_group_is_at_rest(mig: Mig, at_rest: Any) -> None:
    grown = mig("resize", size=4, wait_s=WAIT)
    assert grown["changed"], grown
    assert len(names(mig)) == 4
    assert mig("info")["group"]["stable"]
    again = mig("resize", size=4)
    assert not again["changed"]
    assert not again["changes"]


def test_versions_are_compared_by_template_and_size(mig: Mig, at_rest: Any) -> None:
    template = mig("info")["group"]["versions"][0]["template"]
    short = template[template.index("projects/") :]
    for name in (template, short, f"{short}?uniqueId=7"):
        same = mig("versions", versions=[{"template": name}])
        assert not same["changed"], "the same one, however it is written"
        assert not same["changes"]
    missing = mig("versions", versions=[{"template": short + "-none"}])
    assert missing["failed"]
    assert missing["failure"] == "ComputeMissing"
    refused = mig("versions", versions=[{"template": template, "percent": 10}])
    assert refused["failed"], "one template is for the rest"


def test_health_is_waited_for_in_every_load_balancer(fleet: Any, mig: Mig, at_rest: Any) -> None:
    name = names(mig)[0]
    mark = fleet.run.vms / name / "run/unready"
    late = mig("wait_health", instances=[name], state="UNHEALTHY", wait_s=0.3)
    assert late["failed"]
    assert late["failure"] == "DeadlinePassed"
    assert f"{name} is HEALTHY in {EXTERNAL_BACKEND}" in late["msg"]
    mark.touch()
    try:
        seen = mig("wait_health", instances=[name], state="UNHEALTHY", wait_s=WAIT, looks=3)
        assert [view[name] for view in seen["backends"].values()] == ["UNHEALTHY"] * 2
        assert mig("wait_serving", size=2)["serving"] == sorted(
            set(names(mig)) - {name}, key=mig("wait_serving", size=2)["serving"].index
        )
        assert len(mig("wait_serving", size=1, instances=names(mig)[1:2])["serving"]) == 1
        few = mig("wait_serving", size=3, wait_s=0.3)
        assert few["failed"]
        assert "2 of 3 VMs serve" in few["msg"]
    finally:
        mark.unlink()
    assert not mig("wait_health", instances=[name], state="HEALTHY", wait_s=WAIT).get("failed")
    unknown = mig("wait_health", instances=["none"], state="HEALTHY", wait_s=0.2)
    assert "none is unknown" in unknown["msg"]


@pytest.mark.parametrize("action", ["resize", "wait_serving"])
def test_what_keeps_vms_from_coming_is_named(
    fleet: Any, mig: Mig, at_rest: Any, action: str
) -> None:
    fleet.command("break", "quota", "3")
    if action == "wait_serving":
        mig("resize", size=4)
    failed = mig(action, size=4, wait_s=3)
    assert failed["failed"]
    assert failed["failure"] == "QuotaExceeded"
    assert "Quota 'INSTANCES' exceeded" in failed["msg"]
    fleet.command("break", "quota", "--end")
    assert not mig("wait_serving", size=4, wait_s=WAIT).get("failed")


def test_a_stockout_and_a_failed_operation_are_named(fleet: Any, mig: Mig, at_rest: Any) -> None:
    fleet.command("break", "operations", "--error", "ZONE_RESOURCE_POOL_EXHAUSTED")
    failed = mig("recreate", instances=names(mig)[:1], wait_s=WAIT)
    assert failed["failed"]
    assert failed["failure"] == "Stockout"


def test_who_may_not_and_what_is_not_there_are_named(
    fleet: Any, mig: Mig, monkeypatch: pytest.MonkeyPatch, at_rest: Any
) -> None:
    assert mig("info", group="none")["failure"] == "ComputeMissing"
    with monkeypatch.context() as patch:
        key = keys.key_file(fleet.run, ACCOUNTS["caller"])
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
        failed = mig("info")
    assert failed["failure"] == "ComputeForbidden"
    assert ACCOUNTS["caller"].email in failed["msg"]


@pytest.mark.parametrize(
    "options",
    [
        {"action": "resize"},
        {"action": "versions"},
        {"action": "wait_health", "instances": ["x"]},
        {"action": "wait_serving"},
        {"action": "autoscaler", "mode": "UP"},
        {"action": "dance"},
    ],
)
def test_a_task_that_means_nothing_calls_nobody(mig: Mig, options: dict[str, Any]) -> None:
    answer = mig(options.pop("action"), **options)
    assert answer["failed"]
    assert not answer["changes"]
