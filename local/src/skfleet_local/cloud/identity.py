"""OAuth 2.0 token endpoint for service account keys, and the public keys of ID tokens and of IAP."""

from __future__ import annotations

from aiohttp import web

from skfleet_local.cloud.tokens import LIFETIME_S, Refused, Tokens

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# google-auth names Google's own endpoint as audience whatever a key file's token_uri says.
GOOGLE_TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address


def application(tokens: Tokens, token_url: str) -> web.Application:
    """The site. `token_url`: what assertions must name as their audience."""

    async def token(request: web.Request) -> web.Response:
        form = await request.post()
        grant = str(form.get("grant_type"))
        if grant != JWT_BEARER:
            return _refusal("unsupported_grant_type", f"Invalid grant_type: {grant}")
        try:
            account, claims = tokens.self_signed(str(form.get("assertion", "")))
        except Refused as refused:
            return _refusal("invalid_grant", f"Invalid JWT: {refused}.")
        if claims["aud"] not in (token_url, GOOGLE_TOKEN_URL):
            return _refusal("invalid_grant", "Invalid JWT: the audience is not this endpoint.")
        if "target_audience" in claims:
            return web.json_response(
                {"id_token": tokens.id_token(account, str(claims["target_audience"]))}
            )
        if not claims.get("scope"):
            return _refusal("invalid_scope", "Empty or missing scope not allowed.")
        return web.json_response(
            {
                "access_token": tokens.access_token(account),
                "expires_in": LIFETIME_S - 1,
                "token_type": "Bearer",
            }
        )

    async def google_keys(_: web.Request) -> web.Response:
        return web.json_response(tokens.google_jwks())

    async def iap_keys(_: web.Request) -> web.Response:
        return web.json_response(tokens.iap_jwks())

    app = web.Application()
    app.router.add_post("/token", token)
    app.router.add_get("/oauth2/v3/certs", google_keys)
    app.router.add_get("/iap/verify/public_key-jwk", iap_keys)
    return app


def _refusal(error: str, description: str) -> web.Response:
    return web.json_response({"error": error, "error_description": description}, status=400)
