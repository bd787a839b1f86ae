"""Envoy's admin interface: it can end Envoy and knows its keys, so it is a Unix socket of the run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

_TIMEOUT_S = 5.0


class AdminUnavailable(Exception):
    """Envoy's admin interface did not answer, or with an error."""


async def ask(socket: Path, path: str, method: str = "GET") -> bytes:
    """The body of one answer; raises AdminUnavailable."""
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(socket)),
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
                raise_for_status=True,
            ) as session,
            session.request(method, f"http://envoy{path}") as answer,
        ):
            return await answer.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise AdminUnavailable(str(error) or type(error).__name__) from None


def ask_now(socket: Path, path: str, method: str = "GET") -> bytes:
    """`ask`, outside of an event loop."""
    return asyncio.run(ask(socket, path, method))
