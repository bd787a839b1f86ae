"""The whole way of a request: TLS, IAP, load balancer, VM; and who is turned away."""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from skfleet.artifacts.store import Store
from skfleet.declared import declared
from skfleet.polling import wait_until
from skfleet.serving.identity import IAP_HINT
from skfleet_local import keys, processes
from skfleet_local.accounts import ACCOUNTS, IAP_CLIENT_ID, INTERNAL_AUDIENCE
from skfleet_local.cloud.iap import SIGN_IN
from skfleet_local.cloud.tokens import IAP_ISSUER, Tokens
from skfleet_local.compute.project import BUCKET, FLEET, iap_audience
from skfleet_operator.rollouts import lease

pytestmark = pytest.mark.fleet

LISTENERS = declared().edge.listeners

Eventually = Callable[[str, float, Callable[[], Any]], Any]


@pytest.fixture(scope="module")
def fleet(start_fleet: Callable[..., Any]) -> Any:
    started = start_fleet("--vms", "2", "--time-scale", "20")
    token = bearer(tokens_of(started).id_token(ACCOUNTS["user"], IAP_CLIENT_ID))
    wait_until(lambda: post(started, token).status_code == 200, 30, "an answer")
    return started


def tokens_of(fleet: Any) -> Tokens:
    return Tokens.load(fleet.run)


@pytest.fixture(scope="module")
def tokens(fleet: Any) -> Tokens:
    return tokens_of(fleet)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def post(fleet: Any, headers: dict[str, str], path: str = "/predict") -> requests.Response:
    return requests.post(
        fleet.state.addresses.external_url + path,
        headers=headers,
        data={"x": "[1]"},
        verify=str(fleet.run.ca_file),
        timeout=10,
    )


def self_signed(fleet: Any, account: str, key: Any = None, **changes: Any) -> str:
    """A JWT for IAP as `skfleet token` makes it."""
    info = json.loads(keys.key_file(fleet.run, ACCOUNTS[account]).read_bytes())
    now = int(time.time())
    claims = {
        "iss": info["client_email"],
        "sub": info["client_email"],
        "aud": fleet.state.addresses.external_url + "/*",
        "iat": now,
        "exp": now + 3600,
        **changes,
    }
    kid = info["private_key_id"]
    return jwt.encode(claims, key or info["private_key"], algorithm="RS256", headers={"kid": kid})


def check_assertion(tokens: Tokens, headers: dict[str, str], account: str) -> None:
    assertion = headers["x-goog-iap-jwt-assertion"]
    claims = jwt.decode(
        assertion,
        tokens.iap.public_key(),
        algorithms=["ES256"],
        audience=iap_audience(),
        issuer=IAP_ISSUER,
    )
    assert claims["email"] == ACCOUNTS[account].email
    assert claims["exp"] - claims["iat"] == 600
    assert headers["x-goog-authenticated-user-email"].endswith(ACCOUNTS[account].email)


def test_an_id_token_for_the_oauth_client_passes(fleet: Any, tokens: Tokens) -> None:
    answer = post(fleet, bearer(tokens.id_token(ACCOUNTS["user"], IAP_CLIENT_ID)))
    assert answer.status_code == 200
    seen = answer.json()
    assert seen["port"] == LISTENERS.iap.port
    check_assertion(tokens, seen["headers"], "user")
    assert "authorization" not in seen["headers"]  # IAP consumed it


def test_a_jwt_that_a_service_account_signed_for_the_url_passes(fleet: Any, tokens: Tokens) -> None:
    answer = post(fleet, bearer(self_signed(fleet, "tester")))
    assert answer.status_code == 200
    check_assertion(tokens, answer.json()["headers"], "tester")


def test_proxy_authorization_leaves_authorization_to_the_application(
    fleet: Any, tokens: Tokens
) -> None:
    token = tokens.id_token(ACCOUNTS["user"], IAP_CLIENT_ID)
    answer = post(fleet, {"Proxy-Authorization": f"Bearer {token}", "Authorization": "Basic eA=="})
    assert answer.status_code == 200
    headers = answer.json()["headers"]
    assert headers["authorization"] == "Basic eA=="
    assert "proxy-authorization" not in headers


def test_whatever_the_client_claims_by_google_headers_is_dropped(
    fleet: Any, tokens: Tokens
) -> None:
    spoofed = {
        "X-Goog-IAP-JWT-Assertion": "spoofed",
        "X-Goog-Authenticated-User-Email": "accounts.google.com:root@example.com",
        "x-goog-anything": "spoofed",
        "X-Envoy-Retry-On": "reset",
        "X-Envoy-Upstream-RQ-Timeout-Ms": "1",
    }
    token = tokens.id_token(ACCOUNTS["user"], IAP_CLIENT_ID)
    answer = post(fleet, {**spoofed, **bearer(token)})
    headers = answer.json()["headers"]
    check_assertion(tokens, headers, "user")
    assert "x-goog-anything" not in headers
    assert not [name for name in headers if name.startswith("x-envoy-")]
    assert "spoofed" not in json.dumps(headers)


def hs256(claims: dict[str, Any], kid: str, secret: bytes) -> str:
    """By hand: libraries refuse to take a public key for a secret, and so must verifiers."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "kid": kid}, claims)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(secret, signed, "sha256")).rstrip(b"=")
    return (signed + b"." + signature).decode()


def refusals(fleet: Any, tokens: Tokens) -> dict[str, dict[str, str]]:
    now = int(time.time())
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    user = ACCOUNTS["user"]
    good = tokens.id_token(user, IAP_CLIENT_ID)
    claims = jwt.decode(good, options={"verify_signature": False})
    kid = jwt.get_unverified_header(good)["kid"]
    old = {**claims, "iat": now - 7200, "exp": now - 3600}
    public = tokens.google.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return {
        "none": {},
        "nonsense": bearer("nonsense"),
        "wrong scheme": {"Authorization": f"Basic {good}"},
        "assertion alone": {"x-goog-iap-jwt-assertion": tokens.assertion(user, iap_audience())},
        "assertion as a token": bearer(tokens.assertion(user, iap_audience())),
        "access token": bearer(tokens.access_token(user)),
        "expired": bearer(jwt.encode(old, tokens.google, algorithm="RS256", headers={"kid": kid})),
        "forged": bearer(jwt.encode(claims, foreign, algorithm="RS256", headers={"kid": kid})),
        "unsigned": bearer(jwt.encode(claims, None, algorithm="none", headers={"kid": kid})),
        "signed with the public key": bearer(hs256(claims, kid, public)),
        "for another audience": bearer(tokens.id_token(user, INTERNAL_AUDIENCE)),
        "flipped": bearer(good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB")),
        "own, for another host": bearer(self_signed(fleet, "user", aud="https://other/*")),
        "own, for another path": bearer(
            self_signed(fleet, "user", aud=fleet.state.addresses.external_url + "/v2/*")
        ),
        "own, expired": bearer(self_signed(fleet, "user", iat=now - 7200, exp=now - 3600)),
        "own, for too long": bearer(self_signed(fleet, "user", exp=now + 86_400)),
        "own, another's key": bearer(self_signed(fleet, "user", key=foreign)),
        "own, another's name": bearer(
            self_signed(fleet, "stranger", iss=user.email, sub=user.email)
        ),
        "own, another's subject": bearer(self_signed(fleet, "stranger", sub=user.email)),
    }


def test_what_proves_nothing_is_refused_by_iap_itself(fleet: Any, tokens: Tokens) -> None:
    for name, headers in refusals(fleet, tokens).items():
        answer = post(fleet, headers)
        assert answer.status_code == 401, name
        assert answer.headers["x-goog-iap-generated-response"] == "true", name


UPTIME = Path(__file__).resolve().parents[2] / "terraform/modules/slo"


def uptime_check() -> tuple[str, dict[str, str], int, str]:
    """The request that Google's uptime checkers send, as Terraform configures it, and what they expect."""
    check = (UPTIME / "uptime.tf").read_text(encoding="utf-8")
    declared = (UPTIME / "variables.tf").read_text(encoding="utf-8")
    (headers,) = re.findall(r"headers += \{ (.*) \}", check)
    (path,) = re.findall(r'path += optional\(string, "(.*)"\)', declared)
    (status,) = re.findall(r"status += optional\(number, (\d+)\)", declared)
    ((content, matcher),) = re.findall(r'content = "(.*)"\n +matcher = "(.*)"', check)
    assert "status_value = var.uptime.status" in check
    assert matcher == "NOT_CONTAINS_STRING"
    return path, dict(re.findall(r'"([^"]+)" = "([^"]+)"', headers)), int(status), content


def test_the_uptime_check_gets_its_answer_though_it_follows_redirects(fleet: Any) -> None:
    path, headers, status, content = uptime_check()
    answer = requests.get(
        fleet.state.addresses.external_url + path,
        headers=headers,
        verify=str(fleet.run.ca_file),
        timeout=10,
        allow_redirects=True,
    )
    assert answer.status_code == status == 401
    assert answer.history == []
    assert answer.headers["x-goog-iap-generated-response"] == "true"
    assert content not in answer.text
    # What the service itself answers, were IAP off, must not pass for IAP's.
    assert content in IAP_HINT


def test_a_browser_without_identity_is_sent_to_sign_in(fleet: Any) -> None:
    answer = requests.get(
        fleet.state.addresses.external_url + "/readyz",
        verify=str(fleet.run.ca_file),
        timeout=10,
        allow_redirects=False,
    )
    assert answer.status_code == 302
    assert answer.headers["location"].startswith(SIGN_IN)
    assert answer.headers["x-goog-iap-generated-response"] == "true"


@pytest.mark.parametrize("account", ["stranger", "caller"])
def test_who_is_no_accessor_gets_403(fleet: Any, tokens: Tokens, account: str) -> None:
    for token in (
        tokens.id_token(ACCOUNTS[account], IAP_CLIENT_ID),
        self_signed(fleet, account),
    ):
        answer = post(fleet, bearer(token))
        assert answer.status_code == 403
        assert answer.headers["x-goog-iap-generated-response"] == "true"


def test_the_internal_listener_leaves_identity_to_the_service(fleet: Any, tokens: Tokens) -> None:
    token = tokens.id_token(ACCOUNTS["caller"], INTERNAL_AUDIENCE)
    answer = requests.get(
        fleet.state.addresses.internal_url + "/x",
        headers=bearer(token),
        verify=str(fleet.run.ca_file),
        timeout=10,
    )
    assert answer.json()["port"] == LISTENERS.internal.port
    assert answer.json()["headers"]["authorization"] == f"Bearer {token}"
    assert "x-goog-iap-jwt-assertion" not in answer.json()["headers"]


def test_only_our_authority_vouches_for_the_listeners(fleet: Any) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(fleet.state.addresses.external_url, timeout=5)


def used(fleet: Any, tokens: Tokens, requests_: int = 8) -> set[str]:
    token = bearer(tokens.id_token(ACCOUNTS["user"], IAP_CLIENT_ID))
    answers = [post(fleet, token) for _ in range(requests_)]
    assert {answer.status_code for answer in answers} == {200}
    return {answer.json()["address"] for answer in answers}


def test_an_unready_vm_gets_no_traffic_and_none_is_lost(
    fleet: Any, tokens: Tokens, eventually: Eventually
) -> None:
    def everyone() -> set[str] | None:
        addresses = used(fleet, tokens)
        return addresses if len(addresses) == 2 else None

    both = eventually("all VMs serve", 20, everyone)
    vm = sorted(fleet.run.vms.iterdir())[0]
    mark = vm / "run/unready"
    mark.touch()
    try:
        eventually("it is left out", 20, lambda: len(used(fleet, tokens)) == 1)
    finally:
        mark.unlink()
    eventually("it is back", 20, lambda: used(fleet, tokens) == both)


def test_without_a_ready_vm_there_is_no_answer_rather_than_a_drained_vms(
    fleet: Any, tokens: Tokens, eventually: Eventually
) -> None:
    marks = [vm / "run/unready" for vm in fleet.run.vms.iterdir()]
    token = bearer(tokens.id_token(ACCOUNTS["user"], IAP_CLIENT_ID))
    for mark in marks:
        mark.touch()
    try:
        eventually("503", 20, lambda: post(fleet, token).status_code == 503)
    finally:
        for mark in marks:
            mark.unlink()
    eventually("200", 20, lambda: post(fleet, token).status_code == 200)


def test_the_access_log_says_who_served_and_in_how_many_attempts(
    fleet: Any, tokens: Tokens, eventually: Eventually
) -> None:
    token = bearer(tokens.id_token(ACCOUNTS["user"], IAP_CLIENT_ID))
    post(fleet, token, "/logged?once")

    def line() -> dict[str, Any] | None:
        lines = [json.loads(text) for text in fleet.run.access_log.read_text().splitlines()]
        return next((x for x in lines if x["path"] == "/logged?once"), None)

    found = eventually("the line", 5, line)
    assert found["status"] == 200
    assert found["attempts"] == 1
    assert found["flags"] == "-"
    assert found["upstream"].endswith(f":{LISTENERS.iap.port}")
    assert found["release"] == "stub"


def test_without_iap_nobody_passes(fleet: Any, tokens: Tokens, eventually: Eventually) -> None:
    token = bearer(tokens.id_token(ACCOUNTS["user"], IAP_CLIENT_ID))
    cloud = fleet.state.processes["cloud"]
    processes.kill(lambda: [cloud])
    assert post(fleet, token).status_code == 503
    fleet.command("up")  # starts what is missing, and nothing else
    assert fleet.state.processes["cloud"] != cloud
    eventually("200", 20, lambda: post(fleet, token).status_code == 200)


def test_who_watches_sees_which_vms_get_the_traffic(fleet: Any, tokens: Tokens) -> None:
    headers = bearer(tokens.id_token(ACCOUNTS["user"], IAP_CLIENT_ID))
    busy: dict[str, float] = {}
    with fleet.watching() as lines:
        for line in lines:
            assert post(fleet, headers).status_code == 200
            if found := re.match(r"(skfleet-\w+) +us-central1-\w +stub +serves +([\d.]+)", line):
                busy[found[1]] = max(busy.get(found[1], 0.0), float(found[2]))
                if len(busy) == 2 and all(busy.values()):
                    break


def test_who_watches_sees_who_moves_the_fleet(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fleet.environment().items():
        monkeypatch.setenv(name, value.strip("'"))
    holder = lease.Holder(run="20261125-1", by="ops", host="elsewhere", boot="", pid=1, started=1)
    store = Store(fleet.state.addresses.storage_url)
    lease.write(store, lease.uri(f"gs://{BUCKET}", FLEET), lease.Lease(holder=holder), seen=0)
    with fleet.watching() as lines:
        assert next(line for line in lines if line.startswith("rollout: 20261125-1 of ops"))
