"""What Packer's build left, the two hosts that booted from it, and one that could not reach the bucket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skfleet.declared import declared

REPOSITORY = Path(__file__).resolve().parents[3]
PLACE = Path(os.environ.get("IMAGE_PLACE", REPOSITORY / ".skfleet/hosts/image"))
LAYER = PLACE / "layer"
HOSTS = [sys.executable, "-m", "skfleet_local.hosts"]
NAMES = ("image-1", "image-2")
HEALTH = declared().edge.listeners.health.port

pytestmark = pytest.mark.skipif(
    not (PLACE / "boots.json").exists(), reason="runs in the scenario: molecule test -s image"
)


def run(name: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Root's command on a host."""
    return subprocess.run(
        [*HOSTS, "ssh", name, "sudo", *command], capture_output=True, text=True, check=False
    )


def on(name: str, *command: str) -> str:
    """What a host says to root's command, which must go well."""
    done = run(name, *command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def get(address: str, port: int, path: str) -> Any:
    """A host's answer, as somebody in the network gets it."""
    url = f"http://{address}:{port}{path}"
    done = subprocess.run(
        [*HOSTS, "exec", "--", "curl", "--silent", "--fail", "--max-time", "5", url],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, f"{url}: {done.returncode}"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def image() -> Any:
    return json.loads((PLACE / "contents/image.json").read_bytes())


@pytest.fixture(scope="module")
def boots() -> Any:
    return json.loads((PLACE / "boots.json").read_bytes())


@pytest.fixture(scope="module")
def calls() -> Any:
    log = PLACE.parent / "cloud/log/requests.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_both_hosts_serve_the_desired_release(boots: Any, image: Any) -> None:
    assert [boot["name"] for boot in boots] == list(NAMES)
    for boot in boots:
        assert get(boot["address"], HEALTH, "/version")["release"] == image["release"]
        assert get(boot["address"], HEALTH, "/readyz")["release"] == image["release"]


def test_a_host_without_the_bucket_serves_the_baked_release_and_says_so(image: Any) -> None:
    """Its image was made to; the callers that it admits are those of its image, too."""
    (boot,) = json.loads((PLACE / "without_bucket.json").read_bytes())
    ready = get(boot["address"], HEALTH, "/readyz")
    assert (ready["release"], ready["stale"]) == (image["release"], True)
    assert "cannot be reached" in on(boot["name"], "cat", "/run/skfleet/converge.json")
    admitted = "/var/lib/skfleet/identity/environment.json"
    assert json.loads(on(boot["name"], "cat", admitted)) == json.loads(
        on(NAMES[0], "cat", admitted)
    )


def test_hosts_of_one_image_are_not_the_same_machine() -> None:
    for path in ("/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub"):
        one, other = (on(name, "cat", path) for name in NAMES)
        assert one.strip()
        assert one != other


def test_a_boot_downloads_three_small_documents(boots: Any, calls: Any, image: Any) -> None:
    """The desired release is baked: no build, no bundle, no model comes over the network."""
    for boot in boots:
        read = {
            (call["path"].rpartition("/o/")[2], call["bytes"])
            for call in calls
            if call["caller"] == boot["address"] and "/download/" in call["path"]
        }
        names = {name.replace("%2F", "/") for name, _ in read}
        assert names == {
            "fleets/local/desired.json",
            "fleets/local/environment.json",
            f"releases/{image['release']}.json",
        }
        assert sum(size for _, size in read) < 16_384


def test_nothing_but_bucket_metadata_and_keys_is_in_the_network() -> None:
    listening = subprocess.run(
        [*HOSTS, "exec", "--", "ss", "--listening", "--tcp", "--udp", "--numeric", "--no-header"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    reachable = {line.split()[4] for line in listening.splitlines()}
    reachable = {place for place in reachable if not place.startswith("127.")}
    assert reachable == {"169.254.169.254:80", "10.88.0.1:4443", "10.88.0.1:8100"}
    # A documentation address of RFC 5737, which any route out would carry away.
    for address, there in (("192.0.2.1:80", False), ("10.88.0.1:8100/oauth2/v3/certs", True)):
        done = run(NAMES[0], "curl", "--silent", "--fail", "--max-time", "3", f"http://{address}")
        assert (done.returncode == 0) is there, address


def test_units_of_the_fleet_start_at_boot_and_none_failed() -> None:
    for name in NAMES:
        failed = on(name, "systemctl", "--failed", "--no-legend", "--plain")
        assert "skfleet" not in failed


def look(root: str, *layers: str) -> subprocess.CompletedProcess[str]:
    """What the clean-up finds on a disk that is not running, looked at from outside."""
    clean = [sys.executable, str(REPOSITORY / "roles/image_cleanup/files/clean.py")]
    mounted = (
        'mount -t overlay overlay -o "lowerdir=$1" "$2" && shift && exec "${@:2}" "$1" ops --look'
    )
    script = ["unshare", "--mount", "--", "bash", "-c", mounted, "look", ":".join(layers), root]
    return subprocess.run([*script, *clean], capture_output=True, text=True, check=False)


def test_the_image_holds_nothing_of_its_maker(tmp_path: Path) -> None:
    record = json.loads((PLACE.parent / NAMES[0] / "host.json").read_bytes())
    disk = record["layers"][1:]  # without the layer that says where this cloud is
    assert disk[0] == str(LAYER)
    done = look(str(tmp_path), *disk)
    assert (done.returncode, done.stdout.strip()) == (0, "")
    # The same look finds what was forgotten: it is no blank.
    planted = PLACE / "planted"
    (planted / "etc").mkdir(parents=True, exist_ok=True)
    key = "-----BEGIN " + "PRIVATE KEY-----\n" + "A" * 64 + "\n-----END " + "PRIVATE KEY-----\n"
    (planted / "etc/forgotten.pem").write_text(key)
    done = look(str(tmp_path), str(planted), *disk)
    assert (done.returncode, done.stdout.strip()) == (1, "/etc/forgotten.pem: holds a private key")


def test_the_baked_image_serves_nothing_until_it_is_told(image: Any) -> None:
    assert not (LAYER / "opt/skfleet/current").is_symlink()
    assert (LAYER / "opt/skfleet/releases" / image["release"] / "release.json").is_file()
    assert not list((LAYER / "var/lib/skfleet/identity").glob("*"))


def test_the_inventory_names_what_is_installed() -> None:
    bom = json.loads((PLACE / "contents/inventory.cdx.json").read_bytes())
    assert bom["bomFormat"] == "CycloneDX"
    urls = {component["purl"].partition("@")[0] for component in bom["components"]}
    assert {"pkg:deb/debian/openssh-server", "pkg:pypi/ansible-core", "pkg:pypi/skfleet"} <= urls
    places = {
        prop["value"] for component in bom["components"] for prop in component.get("properties", [])
    }
    assert "runtime" in places
    assert any(place.startswith("builds/") for place in places)


def test_the_sizes_are_measured() -> None:
    sizes = json.loads((PLACE / "contents/sizes.json").read_bytes())["megabytes"]
    assert sizes["base"] < sizes["roles"] < sizes["image"]
