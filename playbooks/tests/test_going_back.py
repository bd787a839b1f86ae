"""A rollout that does not pass leaves the fleet where it was, and says in plain words what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skfleet_testing.fleet import Fleet, Result, assert_clean, sampled

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]


def assert_went_back(fleet: Fleet, result: Result, *words: str) -> None:
    """The exit code says so, the evidence says why, and nothing is left of it."""
    assert result.code != 0, result.output[-3000:]
    assert result.evidence["verdict"] == "rolled-back", result.words
    for word in words:
        assert word in result.words
    fleet.assert_at("a")
    assert fleet.document(f"rollouts/{result.evidence['id']}.json") == result.evidence


def touched(result: Result) -> set[str]:
    """The VMs that were drained, activated or reloaded."""
    return {
        event["host"]
        for event in result.evidence["events"]
        if event["step"] in ("drain", "activate")
    }


CANARIES = [
    ("broken", ("stage:", "cannot be imported")),
    ("unready", ("gate:", "never ready")),
    ("wrong", ("gate:", "golden answers", "are not right")),
]
UNDER_TRAFFIC = [("slow", ("soak:", "p90 is")), ("failing", ("soak:", "answered 5xx"))]


@pytest.mark.load
@pytest.mark.parametrize(("release", "words"), sampled(CANARIES, 1, "canaries"))
def test_a_bad_canary_is_found_out_before_it_answers_anybody(
    at_a: Fleet, release: str, words: tuple[str, ...]
) -> None:
    with at_a.witnessed() as record:
        result = at_a.playbook("rollout", release=release)
    assert_went_back(at_a, result, *words)
    assert_clean(record)
    assert set(record["releases"]) == {"a"}, "callers met the bad release"
    assert len(touched(result)) <= 1, "it went on after the canary"


@pytest.mark.load
@pytest.mark.full
@pytest.mark.parametrize(("release", "words"), sampled(UNDER_TRAFFIC, 1, "under traffic"))
def test_what_is_bad_under_traffic_alone_stops_at_the_canary(
    at_a: Fleet, release: str, words: tuple[str, ...]
) -> None:
    """Its callers are those of one VM, for the length of a soak."""
    with at_a.witnessed() as record:
        result = at_a.playbook("rollout", release=release)
    assert_went_back(at_a, result, *words)
    assert len(touched(result)) == 1
    assert record["wrong"] == 0
    old = record["releases"]["a"]["requests"]
    assert old > record["requests"] * 0.7, "the old VMs went on"


@pytest.mark.full
def test_what_is_bad_shows_without_any_traffic(at_a: Fleet) -> None:
    """Where callers ask too little to judge by, the witness asks."""
    result = at_a.playbook("rollout", release="failing", rollout_soak_s=6)
    assert_went_back(at_a, result, "soak:")
    gate = next(host for host in result.evidence["hosts"].values() if host["words"])
    assert "witness" in gate["words"] or "5xx" in gate["words"]


def model_file(fleet: Fleet, release: str) -> Path:
    """A file of the release's model in the bucket, on the local Cloud Storage's disk."""
    from skfleet.documents import read
    from skfleet.documents.release import Release
    from skfleet_local.objects import ObjectStore

    objects = ObjectStore(fleet.shell.run.objects)
    found = objects.find("skfleet-local", f"releases/{release}.json")
    assert found is not None
    document = read(Release, objects.open(found).read(), where=release)
    manifest = document.models[0].manifest.uri.removeprefix("gs://skfleet-local/")
    files = objects.list("skfleet-local", f"{manifest.rpartition('/')[0]}/", "", 100)
    file = next(found for found in files if found["name"] != manifest)
    return objects.content(int(file["generation"]))


@pytest.fixture
def corrupt(at_a: Fleet) -> Iterator[Path]:
    """Release `m`, a byte of its model flipped in the bucket."""
    path = model_file(at_a, "m")
    good = path.read_bytes()
    path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    yield path
    path.write_bytes(good)


def test_a_model_that_cannot_be_loaded_is_refused_by_the_plan(at_a: Fleet, corrupt: Path) -> None:
    fresh = at_a.directory / "other-controller"
    result = at_a.playbook("rollout", release="m", rollout_evidence_directory=str(fresh))
    assert result.code != 0
    assert "Refused (model)" in result.output
    assert "Nothing has changed" in result.output
    at_a.assert_at("a")


def test_a_model_corrupted_after_the_plan_stops_at_the_first_vm(at_a: Fleet, corrupt: Path) -> None:
    """The controller has verified it before; the VM verifies it again."""
    bad = corrupt.read_bytes()
    corrupt.write_bytes(bytes([bad[0] ^ 1]) + bad[1:])
    assert at_a.playbook("rollout", "--check", release="m").code == 0
    corrupt.write_bytes(bad)
    result = at_a.playbook("rollout", release="m")
    assert_went_back(at_a, result, "stage:")
    assert not touched(result)


@pytest.fixture
def cut(fleet: Fleet) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """An inventory beside the fleet's, by which a VM cannot be reached once it is cut off."""
    folder = fleet.directory / "cut"
    (folder / "group_vars").mkdir(parents=True, exist_ok=True)
    (folder / "hosts.yml").write_text("fleet: {}\n")
    lost = f"('{folder}/' ~ inventory_hostname) is exists"
    usual = "ssh" if fleet.shell.run.require_state().layers else "local"
    # Nobody listens on port 1, and a connection that is open already would still do.
    (folder / "group_vars/fleet.yml").write_text(
        f"""ansible_connection: "{{{{ 'ssh' if {lost} else '{usual}' }}}}"\n"""
        f"""ansible_port: "{{{{ 1 if {lost} else 22 }}}}"\n"""
        f"""ansible_control_path: "%(directory)s/{{{{ inventory_hostname ~ (1 if {lost} else '') }}}}"\n"""
    )

    def cut_off(vm: str) -> None:
        (folder / vm).touch()

    yield folder / "hosts.yml", cut_off
    for path in folder.glob("skfleet-*"):
        path.unlink()


@pytest.mark.load
@pytest.mark.parametrize("step", sampled(["stage", "drain", "activate", "undrain"], 1, "lost"))
def test_a_vm_that_cannot_be_reached_midway_is_recreated(at_a: Fleet, cut: Any, step: str) -> None:
    inventory, cut_off = cut
    before = {vm["name"]: vm["id"] for vm in at_a.shell.status()}
    with at_a.witnessed() as record, at_a.when(step, cut_off) as lost:
        result = at_a.playbook("rollout", inventory=inventory, release="b")
    assert lost, result.output[-3000:]
    assert_went_back(at_a, result, "cannot be reached", "was recreated")
    assert result.evidence["hosts"][lost[0]]["state"] == "recreated"
    after = {vm["name"]: vm["id"] for vm in at_a.shell.status()}
    assert after[lost[0]] != before[lost[0]], "it serves what nobody controls"
    assert_clean(record)


@pytest.mark.load
@pytest.mark.full
def test_a_touched_vm_that_reboots_midway_is_no_loss(at_a: Fleet) -> None:
    def reboot(vm: str) -> None:
        at_a.command("skfleet-local", "break", "reboot", vm)

    with at_a.witnessed() as record, at_a.when("activate", reboot) as lost:
        result = at_a.playbook("rollout", release="b")
    assert lost
    if result.code == 0:
        at_a.assert_at("b")
    else:
        assert_went_back(at_a, result)
    assert_clean(record)
    assert at_a.playbook("rollout", release="b").code == 0
    at_a.assert_at("b")


@pytest.mark.load
@pytest.mark.full
def test_a_vm_that_fails_in_a_later_batch_takes_the_first_ones_back(at_a: Fleet, cut: Any) -> None:
    inventory, cut_off = cut
    with at_a.witnessed() as record, at_a.when("activate", cut_off, nth=2):
        result = at_a.playbook("rollout", inventory=inventory, release="b")
    assert_went_back(at_a, result, "cannot be reached")
    assert len(touched(result)) >= 2
    assert_clean(record)
