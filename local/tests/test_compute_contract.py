"""What the client sends and the stand-in answers is what Google publishes, and failures have names."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import requests

from skfleet_local import client
from skfleet_local.accounts import ACCOUNTS, PROJECT
from skfleet_local.addresses import METADATA_PORT
from skfleet_local.compute.api import ComputeApi
from skfleet_local.compute.project import (
    AUTOSCALER,
    EXTERNAL_BACKEND,
    GROUP,
    INTERNAL_BACKEND,
    REGION,
    TEMPLATE,
    Links,
)
from skfleet_operator import google_rest
from skfleet_operator.compute.client import Compute
from skfleet_operator.compute.errors import (
    ComputeForbidden,
    ComputeMissing,
    ComputeRefused,
    ComputeUnavailable,
    FingerprintChanged,
    QuotaExceeded,
    Stockout,
    of_errors,
)
from skfleet_testing.discovery import Witness, answer_faults, request_faults

pytestmark = pytest.mark.fleet

Eventually = Callable[[str, float, Callable[[], Any]], Any]
SECOND = "skfleet-2"


# Of no state that the group ever had.
STALE = "AAAAAAAAAAA="


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
def links(fleet: Any) -> Links:
    return Links(fleet.state.addresses.compute_url)


@pytest.fixture(scope="module")
def witness() -> Witness:
    return Witness()


def session_of(fleet: Any, account: str, witness: Witness) -> requests.Session:
    session = client.session()
    session.headers["Authorization"] = f"Bearer {client.access_token(fleet.run, ACCOUNTS[account])}"
    session.mount("http://", witness)
    return session


@pytest.fixture(scope="module")
def session(fleet: Any, witness: Witness) -> requests.Session:
    return session_of(fleet, "deployer", witness)


@pytest.fixture
def api(
    fleet: Any, links: Links, session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> Compute:
    """skfleet's own client, as the deployer, each of its calls witnessed."""
    monkeypatch.setattr(google_rest, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(google_rest, "PATIENCE_S", 3.0)
    return Compute(PROJECT, REGION, links.base, session)


@pytest.fixture
def at_rest(fleet: Any, api: Compute, eventually: Eventually) -> Any:
    """Three VMs at rest, and again afterwards, whatever was asked to go wrong."""
    rest(api, eventually)
    yield
    for what in ("quota", "stockout", "operations", "api"):
        fleet.command("break", what, "--end")
    api.resize(GROUP, 3)
    rest(api, eventually)


def rest(api: Compute, eventually: Eventually, size: int = 3) -> None:
    eventually(
        f"{size} VMs at rest",
        60,
        lambda: api.group(GROUP).status.is_stable and len(api.managed(GROUP)) == size,
    )


def link(links: Links, template: str = TEMPLATE) -> str:
    return links.template(template)


@pytest.fixture(scope="module")
def second(fleet: Any, session: requests.Session, links: Links) -> str:
    """A second template, as Terraform would insert it."""
    token = client.access_token(fleet.run, ACCOUNTS["terraform"])
    terraform = client.Compute(fleet.state.addresses, token)
    found = terraform.call("GET", links.template(TEMPLATE))
    body = {"name": SECOND, "properties": found["properties"]}
    terraform.change(f"{links.project}/global/instanceTemplates", body)
    return SECOND


def test_every_call_of_the_client_is_published_and_so_is_its_answer(
    api: Compute, links: Links, witness: Witness, second: str, at_rest: Any, eventually: Eventually
) -> None:
    group = api.group(GROUP)
    vm = api.managed(GROUP)[0]
    assert api.instance(vm.zone, vm.short).address.startswith("127.")
    assert api.guest_attributes(vm.zone, vm.short, "hostkeys/") == {}
    assert set(api.backend_health(EXTERNAL_BACKEND, group, regional=False)) == {
        item.short for item in api.managed(GROUP)
    }
    assert api.backend_health(INTERNAL_BACKEND, group, regional=True)
    scaler = api.autoscaler(GROUP)
    assert scaler is not None
    policy = scaler.autoscaling_policy
    api.set_autoscaler(scaler.name, mode="ONLY_SCALE_OUT", minimum=policy.min_num_replicas)
    api.set_autoscaler(scaler.name, mode="OFF", minimum=policy.min_num_replicas)
    assert api.set_versions(
        GROUP,
        [
            {"instanceTemplate": link(links, second), "targetSize": {"fixed": 1}},
            {"instanceTemplate": link(links)},
        ],
    )
    assert api.set_versions(GROUP, [{"instanceTemplate": link(links)}])
    api.recreate(GROUP, [vm.short])
    rest(api, eventually)
    api.resize(GROUP, 4)
    rest(api, eventually, 4)
    api.delete(GROUP, [api.managed(GROUP)[-1].short])
    rest(api, eventually)
    witness.assert_published()


def test_every_answer_of_the_stand_in_is_published(
    api: Compute,
    links: Links,
    session: requests.Session,
    witness: Witness,
    second: str,
    at_rest: Any,
    fleet: Any,
) -> None:
    """Those of the routes that the client has no use for too: no route is left out."""
    vm = api.managed(GROUP)[0]
    instance = links.instance(vm.zone, vm.short)
    template = session.get(links.template(second)).json()
    url = f"http://{api.instance(vm.zone, vm.short).address}:{METADATA_PORT}/computeMetadata/v1"
    assert client.session().put(
        f"{url}/instance/guest-attributes/hostkeys/ssh-ed25519",
        data="AAAA",
        headers={"Metadata-Flavor": "Google"},
    )
    assert api.guest_attributes(vm.zone, vm.short, "hostkeys/") == {"ssh-ed25519": "AAAA"}
    bodies = (
        ("global/instanceTemplates", {"name": "other", "properties": template["properties"]}),
        (
            f"regions/{REGION}/instanceGroupManagers",
            {
                "name": "other",
                "baseInstanceName": "other",
                "instanceTemplate": links.template(second),
                "targetSize": 0,
            },
        ),
        (
            f"regions/{REGION}/autoscalers",
            {
                "name": "other",
                "target": links.manager("other"),
                "autoscalingPolicy": {"minNumReplicas": 0, "maxNumReplicas": 1},
            },
        ),
    )
    for path, body in bodies:
        operation = session.post(f"{links.project}/{path}", json=body).json()
        assert session.get(operation["selfLink"]).status_code == 200
        assert session.post(f"{operation['selfLink']}/wait").json()["status"] == "DONE"
    for address in (
        links.manager(GROUP).rpartition("/")[0],
        links.autoscaler(AUTOSCALER),
        links.autoscaler(AUTOSCALER).rpartition("/")[0],
        links.backend(EXTERNAL_BACKEND, False),
        links.backend(INTERNAL_BACKEND, True),
        instance.rpartition("/")[0],
        instance,
    ):
        assert session.get(address).status_code == 200, address
    reset = session.post(f"{instance}/reset").json()
    assert session.get(reset["selfLink"]).status_code == 200
    assert session.post(f"{reset['selfLink']}/wait").json()["status"] == "DONE"
    witness.assert_published()


def test_no_route_of_the_stand_in_is_left_out(witness: Witness) -> None:
    """Runs after the two before it, and counts what they asked."""
    nothing: Any = None
    app = ComputeApi(nothing, nothing, nothing, nothing, nothing).application()
    asked = {(seen.verb, seen.path) for seen in witness.seen if seen.status == 200}
    if not asked:
        pytest.skip("the tests before this one have not run: run the whole module")
    left = []
    for route in app.router.routes():
        pattern = re.sub(r"\{\w+\}", "[^/]+", route.resource.canonical)  # type: ignore[union-attr]
        there = any(verb == route.method and re.fullmatch(pattern, path) for verb, path in asked)
        if route.method != "HEAD" and not there:
            left.append(f"{route.method} {pattern}")
    assert not left


@pytest.mark.parametrize(
    ("verb", "path", "body", "fault"),
    [
        ("GET", "instanceGroups/x/none", None, "not published"),
        ("PUT", f"regions/r/instanceGroupManagers/{GROUP}", {}, "not published"),
        ("POST", "regions/r/instanceGroupManagers/g/resize", None, "size is missing"),
        ("POST", "regions/r/instanceGroupManagers/g/resize?size=-1", None, "out of range"),
        ("POST", "regions/r/instanceGroupManagers/g/resize?size=1&wait=1", None, "wait"),
        ("POST", "regions/r/instanceGroupManagers/g/resize?size=1", {}, "a body"),
        ("PATCH", "regions/r/instanceGroupManagers/g", {"target_size": 1}, "target_size"),
        ("PATCH", "regions/r/instanceGroupManagers/g", {"targetSize": "1"}, "no integer"),
        ("PATCH", "regions/r/instanceGroupManagers/g", {"fingerprint": "%"}, "no base64"),
        ("PATCH", "regions/r/autoscalers", {"autoscalingPolicy": {"mode": "UP"}}, "none of"),
        ("PATCH", "regions/r/autoscalers", {"recommendedSize": 1}, "Google's to say"),
    ],
)
def test_the_contract_finds_what_is_not_published(
    verb: str, path: str, body: Any, fault: str
) -> None:
    faults = request_faults(verb, f"http://x/compute/v1/projects/p/{path}", body)
    assert any(fault in found for found in faults), faults


def test_the_contract_finds_wrong_answers(links: Links, session: requests.Session) -> None:
    url = links.manager(GROUP)
    right = session.get(url).json()
    assert not answer_faults("GET", url, 200, right)
    for change, fault in (
        ({"targetsize": 3}, "not published"),
        ({"targetSize": "3"}, "no integer"),
        ({"id": 12}, "no string"),
        ({"id": "twelve"}, "no uint64"),
        ({"status": {"isStable": "yes"}}, "no boolean"),
        ({"updatePolicy": {"type": "EVENTUALLY"}}, "none of"),
    ):
        wrong = copy.deepcopy(right) | change
        assert any(fault in found for found in answer_faults("GET", url, 200, wrong)), change
    assert answer_faults("GET", url, 404, {"error": "no"})


# Failures by name


def test_a_quota_is_named_where_the_group_meets_it(
    fleet: Any, api: Compute, witness: Witness, at_rest: Any, eventually: Eventually
) -> None:
    fleet.command("break", "quota", "3")
    api.resize(GROUP, 4)  # as Google's, the operation itself ends well
    failed = eventually("an error", 20, lambda: [vm for vm in api.managed(GROUP) if vm.errors])[0]
    assert failed.current_action == "CREATING"
    error = of_errors(failed.errors, GROUP)
    assert isinstance(error, QuotaExceeded)
    assert "Limit: 3" in error.message
    assert not api.group(GROUP).status.is_stable
    witness.assert_published()
    fleet.command("break", "quota", "--end")
    rest(api, eventually, 4)
    assert not any(vm.errors for vm in api.managed(GROUP))


def test_a_stockout_is_named_and_hits_its_zone_alone(
    fleet: Any, api: Compute, witness: Witness, at_rest: Any, eventually: Eventually
) -> None:
    vm = api.managed(GROUP)[0]
    fleet.command("break", "stockout", vm.zone)
    api.resize(GROUP, 6)
    failed = eventually("an error", 20, lambda: [v for v in api.managed(GROUP) if v.errors])[0]
    assert failed.zone == vm.zone
    error = of_errors(failed.errors, GROUP)
    assert isinstance(error, Stockout)
    assert vm.zone in error.message
    eventually(
        "the other zones' VMs",
        60,
        lambda: sum(bool(v.instance_status) for v in api.managed(GROUP)) == 5,
    )
    witness.assert_published()


def test_what_an_operation_ends_in_is_named(fleet: Any, api: Compute, at_rest: Any) -> None:
    for code, kind in (
        ("QUOTA_EXCEEDED", QuotaExceeded),
        ("ZONE_RESOURCE_POOL_EXHAUSTED", Stockout),
        ("INTERNAL_ERROR", ComputeRefused),
    ):
        fleet.command("break", "operations", "1", "--error", code)
        with pytest.raises(ComputeRefused) as refused:
            api.resize(GROUP, 3)
        assert type(refused.value) is kind
    api.resize(GROUP, 3)


def test_a_stale_fingerprint_changes_nothing_and_is_tried_again_once(
    api: Compute,
    session: requests.Session,
    links: Links,
    second: str,
    witness: Witness,
    at_rest: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stale = session.get(links.manager(GROUP)).json()["fingerprint"]
    wanted = [{"instanceTemplate": link(links, second)}]
    assert api.set_versions(GROUP, wanted)
    body = {"versions": [{"instanceTemplate": link(links)}], "fingerprint": stale}
    answer = session.patch(links.manager(GROUP), json=body)
    assert answer.status_code == 412
    assert api.group(GROUP).versions[0].instance_template == link(links, second)

    # Somebody changes the group between each read and write.
    call, times = Compute._call, []

    def raced(self: Compute, method: str, url: str, *args: Any, **kw: Any) -> dict[str, Any]:
        found = call(self, method, url, *args, **kw)
        if method == "GET" and url == links.manager(GROUP) and len(times) < limit:
            times.append(url)
            found = {**found, "fingerprint": STALE}
        return found

    monkeypatch.setattr(Compute, "_call", raced)
    limit = 1
    assert api.set_versions(GROUP, [{"instanceTemplate": link(links)}])
    times, limit = [], 9
    with pytest.raises(FingerprintChanged):
        api.set_versions(GROUP, wanted)
    assert len(times) == 2
    assert api.group(GROUP).versions[0].instance_template == link(links)
    witness.assert_published()


def test_new_vms_get_the_template_that_lacks_some_and_a_repair_keeps_its_own(
    fleet: Any, api: Compute, links: Links, second: str, at_rest: Any, eventually: Eventually
) -> None:
    api.set_versions(
        GROUP,
        [
            {"instanceTemplate": link(links, second), "targetSize": {"fixed": 1}},
            {"instanceTemplate": link(links)},
        ],
    )
    assert {v.version and v.version.instance_template for v in api.managed(GROUP)} == {link(links)}
    first, other = [vm.short for vm in api.managed(GROUP)][:2]

    def template(name: str) -> str:
        found = next(vm for vm in api.managed(GROUP) if vm.short == name)
        return found.version.instance_template if found.version else ""

    api.recreate(GROUP, [first])
    rest(api, eventually)
    assert template(first) == link(links, second)
    api.recreate(GROUP, [other])
    rest(api, eventually)
    assert template(other) == link(links)
    api.set_versions(GROUP, [{"instanceTemplate": link(links)}])
    fleet.command("break", "kill", first)
    eventually("the repair", 20, lambda: not api.group(GROUP).status.is_stable)
    rest(api, eventually)
    assert template(first) == link(links, second)
    api.recreate(GROUP, [first])
    rest(api, eventually)


@pytest.mark.parametrize("late", [False, True])
def test_what_is_tried_again_is_done_once_under_one_request_id(
    fleet: Any, api: Compute, witness: Witness, at_rest: Any, eventually: Eventually, late: bool
) -> None:
    victim = api.managed(GROUP)[-1].short
    there = api.managed(GROUP)
    fleet.command("break", "api", "503", "--times", "3", *(["--late"] if late else []))
    with pytest.MonkeyPatch.context() as patch:
        # So that it is the change itself that meets the trouble.
        patch.setattr(Compute, "managed", lambda self, group: there)
        witness.seen.clear()
        api.delete(GROUP, [victim])
    tried = [seen for seen in witness.seen if seen.path.endswith("/deleteInstances")]
    assert len(tried) > 1
    assert len({seen.request_id for seen in tried}) == 1
    assert tried[0].request_id
    assert api.group(GROUP).target_size == 2
    witness.assert_published()


def test_an_api_that_stays_in_trouble_is_named(fleet: Any, api: Compute, at_rest: Any) -> None:
    fleet.command("break", "api", "429", "--times", "99")
    with pytest.raises(ComputeUnavailable):
        api.group(GROUP)
    fleet.command("break", "api", "--end")
    assert api.group(GROUP).name == GROUP


def test_an_api_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google_rest, "PATIENCE_S", 0.0)
    nobody = Compute(PROJECT, REGION, "http://127.0.0.1:9", client.session())
    with pytest.raises(ComputeUnavailable) as refused:
        nobody.group(GROUP)
    assert refused.value.exit_code == 3


def test_who_may_not_is_told_so(fleet: Any, links: Links, witness: Witness) -> None:
    stranger = Compute(PROJECT, REGION, links.base, session_of(fleet, "caller", witness))
    with pytest.raises(ComputeForbidden, match=ACCOUNTS["caller"].email):
        stranger.group(GROUP)
    nobody = Compute(PROJECT, REGION, links.base, client.session())
    with pytest.raises(ComputeForbidden):
        nobody.group(GROUP)
    witness.assert_published()


def test_what_is_not_there_is_named(api: Compute) -> None:
    with pytest.raises(ComputeMissing, match="none"):
        api.group("none")
    with pytest.raises(ComputeRefused, match="no VM none"):
        api.recreate(GROUP, ["none"])


def test_operations_take_the_time_that_is_asked_for(
    fleet: Any, links: Links, session: requests.Session, at_rest: Any
) -> None:
    fleet.command("break", "operations", "60")  # three seconds at this time scale
    operation = session.post(f"{links.manager(GROUP)}/resize?size=3").json()
    assert session.get(operation["selfLink"]).json()["status"] != "DONE"
    assert session.post(f"{operation['selfLink']}/wait").json()["status"] == "DONE"


@pytest.mark.parametrize(
    "arguments",
    [("quota",), ("quota", "3", "--end"), ("stockout",), ("stockout", "mars"), ("operations",)],
)
def test_a_fault_that_means_nothing_is_refused(fleet: Any, arguments: tuple[str, ...]) -> None:
    done = fleet.command("break", *arguments, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
