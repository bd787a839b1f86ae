"""A release says what it needs of an image; one that this image has not is refused, and by name."""

from __future__ import annotations

import pytest

from skfleet.documents.release import AppPin, ModelPin, Pin, Release
from skfleet.errors import VersionMismatch
from skfleet.vm import source
from skfleet.vm.host import IMAGE_CONTRACTS
from skfleet.vm.platform import host_tags

PYTHON, PLATFORM = host_tags()
PIN = Pin(uri="gs://bucket/object", generation=1, sha256="0" * 64)


def release(python: str = PYTHON, platform: str = PLATFORM, contract: int = 1) -> Release:
    app = AppPin(
        uri=PIN.uri, generation=1, sha256=PIN.sha256, version="1", python=python, platform=platform
    )
    return Release(
        id="r1",
        created_at="2026-01-01T00:00:00Z",
        created_by="nobody",
        app=app,
        bundle=PIN,
        models=[ModelPin(name="flight-delay", manifest=PIN)],
        default_model="flight-delay",
        image_contract=contract,
    )


@pytest.mark.parametrize(
    ("unfit", "said"),
    [
        (release(contract=99), "image contract 99"),
        (release(python="3.99"), f"Python 3.99, and this host has {PYTHON}"),
        (
            release(platform="linux_riscv64"),
            f"platform linux_riscv64, and this host has {PLATFORM}",
        ),
    ],
)
def test_a_release_that_this_image_cannot_run_is_refused(unfit: Release, said: str) -> None:
    with pytest.raises(VersionMismatch, match=said) as refused:
        source.check(unfit)
    assert "Replace the VMs" in str(refused.value)


def test_one_that_it_can_run_is_not() -> None:
    for contract in IMAGE_CONTRACTS:
        source.check(release(contract=contract))
