"""`skfleet ssh`: which key is registered for whom, how long it is kept, and what each failure says."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import Any

import google.oauth2.credentials as google_credentials
import pytest
import yaml

from .conftest import DEPLOYER, PERSON, Skfleet, workload
from .emulator import PROJECT, Google

REPOSITORY = Path(__file__).resolve().parents[3]
SETUP = ("ssh", "setup", "--project", PROJECT)


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "login.json").read_text())
    return found


@pytest.fixture
def folder(environment: dict[str, str]) -> Path:
    return Path(environment["SKFLEET_SSH_DIRECTORY"]) / PROJECT


def test_setup_registers_a_key_that_expires(skfleet: Skfleet, google: Google, folder: Path) -> None:
    before = time.time()
    done = skfleet(*SETUP, "--ttl", "2")
    assert done.returncode == 0, done.stderr
    (key,) = google.keys[DEPLOYER].values()
    left = int(key["expirationTimeUsec"]) / 1e6 - before
    assert 7195 < left < 7260
    assert record(folder)["user"] == "sa_104857"
    assert record(folder)["account"] == DEPLOYER
    assert record(folder)["fingerprint"] == key["fingerprint"]
    assert "sa_104857" in done.stdout
    assert google.faults == []


def test_setup_keeps_the_private_key_to_its_owner(skfleet: Skfleet, folder: Path) -> None:
    done = skfleet(*SETUP)
    private = (folder / "id_ed25519").read_text()
    assert private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert private.splitlines()[1] not in done.stdout + done.stderr
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["id_ed25519", "login.json"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_setup_reuses_a_key_that_lasts(skfleet: Skfleet, google: Google, folder: Path) -> None:
    skfleet(*SETUP)
    private = (folder / "id_ed25519").read_bytes()
    done = skfleet(*SETUP)
    assert done.returncode == 0
    assert done.stdout.startswith("Kept the key")
    assert (folder / "id_ed25519").read_bytes() == private
    assert google.calls["POST importSshPublicKey"] == 1


@pytest.mark.parametrize(
    "why", ["about to expire", "expired", "deleted there", "lost here", "another user"]
)
def test_setup_replaces_a_key_that_does_not(
    skfleet: Skfleet, google: Google, folder: Path, why: str
) -> None:
    skfleet(*SETUP, "--ttl", "2")
    old = record(folder)["fingerprint"]
    ttl = "2"
    if why == "about to expire":
        ttl = "8"  # two hours are less than half of it
    elif why == "expired":
        google.expire_keys()
        left = {**record(folder), "expires_at": "2026-01-01T00:00:00Z"}
        (folder / "login.json").write_text(json.dumps(left))
    elif why == "deleted there":
        google.keys.clear()
    elif why == "lost here":
        (folder / "id_ed25519").unlink()
    else:
        google.users[DEPLOYER] = "sa_2"
    done = skfleet(*SETUP, "--ttl", ttl)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Registered a new key")
    assert record(folder)["fingerprint"] != old
    assert record(folder)["fingerprint"] in google.keys[DEPLOYER]
    assert record(folder)["user"] == google.users[DEPLOYER]
    # What only the record named stays until it expires, as its private half is gone.
    assert old not in google.keys[DEPLOYER] or why == "lost here"


def test_setup_of_another_account_makes_another_key(
    skfleet: Skfleet, google: Google, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    skfleet(*SETUP)
    # `gcloud auth application-default login` names no token address: google-auth knows Google's alone.
    credentials = google_credentials.Credentials("person")
    monkeypatch.setattr("google.auth.default", lambda scopes: (credentials, None))
    done = skfleet(*SETUP, "--endpoint", f"oauth2={url}/oauth2/v2")
    assert done.returncode == 0, done.stderr
    assert (record(folder)["account"], record(folder)["user"]) == (PERSON, "jo_doe_example_com")
    assert len(google.keys[DEPLOYER]) == 1, "it is not theirs to delete"


def test_a_workflow_logs_in_as_the_service_account_that_it_impersonates(
    skfleet: Skfleet, google: Google, folder: Path, url: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("from GitHub")
    file = tmp_path / "workload.json"
    file.write_text(json.dumps(workload(url, token, DEPLOYER)))
    done = skfleet(*SETUP, GOOGLE_APPLICATION_CREDENTIALS=str(file))
    assert done.returncode == 0, done.stderr
    assert record(folder)["user"] == "sa_104857"
    file.write_text(json.dumps(workload(url, token, "")))
    done = skfleet(*SETUP, GOOGLE_APPLICATION_CREDENTIALS=str(file))
    assert done.returncode == 2
    assert "impersonate a service account" in done.stderr


def test_remove_deletes_the_key_there_and_here(
    skfleet: Skfleet, google: Google, folder: Path
) -> None:
    skfleet(*SETUP)
    (folder / "known_hosts").write_text("not ours to delete\n")
    done = skfleet("ssh", "remove", "--project", PROJECT)
    assert done.returncode == 0, done.stderr
    assert google.keys[DEPLOYER] == {}
    assert [path.name for path in folder.iterdir()] == ["known_hosts"]
    assert skfleet("ssh", "remove", "--project", PROJECT).returncode == 0


def test_remove_deletes_the_private_key_even_where_oslogin_refuses(
    skfleet: Skfleet, google: Google, folder: Path
) -> None:
    skfleet(*SETUP)
    google.api_is_off = True
    done = skfleet("ssh", "remove", "--project", PROJECT)
    assert done.returncode == 4
    assert not folder.exists()


def test_the_project_is_that_of_the_inventory(
    skfleet: Skfleet, folder: Path, environment: dict[str, str]
) -> None:
    done = skfleet("ssh", "setup")
    assert done.returncode == 2
    assert "--project or inventories/gcp/terraform.json" in done.stderr
    terraform = Path(environment["HOME"]) / "inventories/gcp/terraform.json"
    terraform.parent.mkdir(parents=True)
    terraform.write_text(json.dumps({"project": PROJECT}))
    assert skfleet("ssh", "setup").returncode == 0
    assert record(folder)["project"] == PROJECT


@pytest.mark.parametrize("project", ["../up", "{{ 7*7 }}", "Example", "a\n"])
def test_a_project_that_is_none_is_refused(skfleet: Skfleet, project: str) -> None:
    done = skfleet("ssh", "setup", "--project", project)
    assert done.returncode == 2
    assert "Invalid project" in done.stderr


def test_two_changes_at_once_are_tried_again(skfleet: Skfleet, google: Google) -> None:
    google.conflicts = 2
    assert skfleet(*SETUP).returncode == 0


def test_an_api_that_is_off_is_named_with_the_command(skfleet: Skfleet, google: Google) -> None:
    google.api_is_off = True
    done = skfleet(*SETUP)
    assert done.returncode == 4
    assert f"gcloud services enable oslogin.googleapis.com --project={PROJECT}" in done.stderr


def test_a_full_profile_loses_expired_keys_of_ours_alone(skfleet: Skfleet, google: Google) -> None:
    past = str(int((time.time() - 60) * 1e6))
    theirs = {
        f"t{n}": {"key": f"ssh-rsa {'A' * 400} jo@laptop", "expirationTimeUsec": past}
        for n in range(10)
    }
    ours = {
        f"o{n}": {"key": f"ssh-ed25519 {'A' * 68} skfleet", "expirationTimeUsec": past}
        for n in range(190)
    }
    google.keys[DEPLOYER] = {**theirs, **ours}
    done = skfleet(*SETUP)
    assert done.returncode == 0, done.stderr
    assert set(theirs) < set(google.keys[DEPLOYER])
    assert len(google.keys[DEPLOYER]) == len(theirs) + 1


def test_a_profile_full_of_others_keys_is_said(
    skfleet: Skfleet, google: Google, folder: Path
) -> None:
    key = {"key": f"ssh-rsa {'A' * 400} jo@laptop"}
    google.keys[DEPLOYER] = {f"t{n}": key for n in range(80)}
    done = skfleet(*SETUP)
    assert done.returncode == 4
    assert "gcloud compute os-login ssh-keys remove" in done.stderr
    assert not folder.exists()


def test_a_profile_without_posix_user_is_refused(
    skfleet: Skfleet, google: Google, folder: Path
) -> None:
    del google.users[DEPLOYER]
    done = skfleet(*SETUP)
    assert done.returncode == 4
    assert "POSIX user name" in done.stderr
    assert not folder.exists()
    assert google.keys[DEPLOYER] == {}, "the key that was registered is not left there"


@pytest.mark.parametrize(
    "user", ["{{ lookup('pipe', 'id') }}", "-oProxyCommand=id", "a b", "x" * 33]
)
def test_a_user_name_that_no_vm_takes_is_refused(
    skfleet: Skfleet, google: Google, folder: Path, user: str
) -> None:
    google.users[DEPLOYER] = user
    done = skfleet(*SETUP)
    assert done.returncode == 4
    assert not folder.exists()
    assert google.keys[DEPLOYER] == {}


def test_the_rollout_workflow_sets_up_and_removes_its_own_login() -> None:
    """A key that outlives the longest job, before the first playbook; the steps are shared by all jobs."""
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/delivery-rollout.yml").read_text())
    for job in workflow["jobs"].values():
        runs = [step.get("run", "") for step in job["steps"]]
        (setup,) = [n for n, run in enumerate(runs) if "skfleet ssh setup" in run]
        (remove,) = [n for n, run in enumerate(runs) if "skfleet ssh remove" in run]
        plays = [n for n, run in enumerate(runs) if "ansible-playbook" in run]
        assert setup < min(plays)
        assert max(plays) < remove
        assert job["steps"][remove]["if"] == "always()"
        hours = int(runs[setup].partition("--ttl")[2].split()[0])
        assert hours * 60 > job["timeout-minutes"]
