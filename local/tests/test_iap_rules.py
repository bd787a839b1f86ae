"""Which URL a service account's own JWT is for, and who is sent to sign in."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from skfleet_local.cloud.iap import covers, is_browser


@pytest.mark.parametrize(
    ("audience", "path", "accepted"),
    [
        ("https://h:8443/*", "/predict", True),
        ("https://h:8443/*", "/", True),
        ("https://h:8443/v1/*", "/v1/models", True),
        ("https://h:8443/v1/*", "/v2/models", False),
        ("https://h:8443/predict", "/predict", True),
        ("https://h:8443/predict", "/other", False),
        ("https://h:8443", "/", True),
        ("https://h:8443", "/predict", False),
        ("http://h:8443/*", "/predict", False),
        ("https://h/*", "/predict", False),
        ("https://other:8443/*", "/predict", False),
        ("https://*/*", "/predict", False),
        ("*", "/predict", False),
        ("", "/predict", False),
    ],
)
def test_an_audience_covers_its_own_urls_alone(audience: str, path: str, accepted: bool) -> None:
    assert covers(audience, "h:8443", path) is accepted


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", {}, True),
        ("GET", {"Accept": "text/html"}, True),
        ("HEAD", {}, True),
        ("GET", {"X-Requested-With": "XMLHttpRequest"}, False),
        ("GET", {"Authorization": "Bearer nonsense"}, False),
        ("GET", {"Proxy-Authorization": "Bearer nonsense"}, False),
        ("POST", {}, False),
    ],
)
def test_a_browser_is_told_from_a_script(
    method: str, headers: dict[str, str], expected: bool
) -> None:
    assert is_browser(make_mocked_request(method, "/readyz", headers)) is expected
