"""Identity-Aware Proxy, as the load balancer's external authorisation service.

Google's does the same in the load balancer: it takes an ID token for its OAuth client or a JWT that a
service account signed for the URL, asks IAM, and adds signed headers. Whatever `x-goog-*` the client
sent is gone before this is asked. A browser without an identity is sent to sign in; a script, known by
`X-Requested-With: XMLHttpRequest`, gets 401 (Google: 'Managing IAP sessions').
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from skfleet_local.accounts import IAP_CLIENT_ID, Account
from skfleet_local.cloud.tokens import Refused, Tokens, bearer

# Envoy removes these from the request it lets pass: IAP consumes the token it used, no other.
_CONSUMED = "x-envoy-auth-headers-to-remove"

# Where a browser would sign in; nobody is there.
SIGN_IN = "https://accounts.skfleet.test/o/oauth2/v2/auth"


def application(tokens: Tokens, audience: str) -> web.Application:
    """The site. `audience`: the backend service, in the form of IAP's assertions."""

    async def check(request: web.Request) -> web.Response:
        try:
            account, consumed = authenticate(tokens, request)
        except Refused as refused:
            if is_browser(request):
                return _sign_in()
            return _generated(401, f"Invalid IAP credentials: {refused}")
        if not account.passes_iap:
            return _generated(
                403,
                f"You don't have access: {account.email} lacks roles/iap.httpsResourceAccessor.",
            )
        headers = {
            "x-goog-iap-jwt-assertion": tokens.assertion(account, audience),
            "x-goog-authenticated-user-email": f"accounts.google.com:{account.email}",
            "x-goog-authenticated-user-id": f"accounts.google.com:{account.subject}",
            _CONSUMED: consumed,
        }
        return web.Response(headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", check)
    return app


def is_browser(request: web.Request) -> bool:
    """Whether IAP takes the request for a browser's first one: it has no token and is no script's."""
    return (
        request.method in ("GET", "HEAD")
        and "Authorization" not in request.headers
        and "Proxy-Authorization" not in request.headers
        and request.headers.get("X-Requested-With") != "XMLHttpRequest"
    )


def authenticate(tokens: Tokens, request: web.Request) -> tuple[Account, str]:
    """Who calls, and in which headers the used token was; raises Refused.

    A valid token in Proxy-Authorization leaves Authorization to the application.
    """
    if "Proxy-Authorization" in request.headers:
        try:
            token = bearer(request.headers["Proxy-Authorization"])
            return _account(tokens, token, request), "proxy-authorization"
        except Refused:
            if "Authorization" not in request.headers:
                raise
    token = bearer(request.headers.get("Authorization"))
    return _account(tokens, token, request), "authorization,proxy-authorization"


def _account(tokens: Tokens, token: str, request: web.Request) -> Account:
    try:
        return tokens.check_id_token(token, IAP_CLIENT_ID)
    except Refused as refused:
        reason = refused
    try:
        account, claims = tokens.self_signed(token)
    except Refused:
        raise reason from None
    if claims.get("sub") != account.email:
        raise Refused("the subject is not the service account")
    if not covers(str(claims["aud"]), request.host, request.path):
        raise Refused("the audience is not this URL")
    return account


def covers(audience: str, host: str, path: str) -> bool:
    """Whether a self-signed token's audience, `https://host/path` or `https://host/*`, is this URL."""
    parts = urlsplit(audience)
    if parts.scheme != "https" or parts.netloc != host or parts.query:
        return False
    pattern = parts.path or "/"
    if pattern.endswith("/*"):
        return fnmatchcase(path, pattern.replace("[", "[[]"))
    return path == pattern


def _generated(status: int, text: str) -> web.Response:
    headers = {"x-goog-iap-generated-response": "true"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="https://cloud.google.com/iap"'
    return web.Response(text=text + "\n", status=status, headers=headers)


def _sign_in() -> web.Response:
    query = {"client_id": IAP_CLIENT_ID, "response_type": "code", "scope": "openid email"}
    answer = _generated(302, "Sign in.")
    answer.headers["Location"] = f"{SIGN_IN}?{urlencode(query)}"
    return answer
