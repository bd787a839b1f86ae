"""Settings stop a program at start, with the setting's name and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from skfleet.errors import ConfigurationError
from skfleet.settings import Settings, release_settings, table


def test_defaults_need_no_environment() -> None:
    settings = Settings.from_environ({})
    assert (settings.port_iap, settings.port_internal, settings.port_health) == (8080, 8081, 8082)


def test_values_are_parsed_to_their_types() -> None:
    settings = Settings.from_environ(
        {"SKFLEET_WORKERS": "4", "SKFLEET_FAST_LANE": "false", "SKFLEET_RUN_DIR": "/x"}
    )
    assert settings.workers == 4
    assert settings.fast_lane is False
    assert settings.run_dir == Path("/x")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SKFLEET_WORKERS", "two"),
        ("SKFLEET_WORKERS", "0"),
        ("SKFLEET_PORT_IAP", "70000"),
        ("SKFLEET_FAST_LANE", "perhaps"),
        ("SKFLEET_LOG_LEVEL", "info\nSKFLEET_TRUSTED_KEYS=/nowhere"),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environ({name: value})
    assert caught.value.where == name
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_release_settings_become_environment_variables() -> None:
    assert release_settings({"workers": 3, "fast_lane": False}) == {
        "SKFLEET_WORKERS": "3",
        "SKFLEET_FAST_LANE": "false",
    }


def test_every_setting_says_what_it_means() -> None:
    for name, _, _, _, meaning in table():
        assert name.isupper()
        assert len(meaning) > 10
