"""An open loop counts every request that was due, by what came of it, and its time from then."""

from __future__ import annotations

import asyncio

import pytest

from skfleet_bench.open_loop import Heard, Load

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


def asked(rate: float, seconds: float, connections: int, pause_s: float) -> Heard:
    """What is heard of a server that answers, breaks off and refuses in turn, after a pause."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while await reader.readuntil(b"\r\n\r\n"):
            count += 1
            await asyncio.sleep(pause_s)
            if count % 4 == 3:
                break
            status = "429 Too Many Requests" if count % 4 == 1 else "200 OK"
            # In two parts: an answer need not come at once.
            writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 2\r\n".encode())
            await writer.drain()
            writer.write(b"\r\nok")
        writer.close()

    async def run() -> Heard:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await Load(rate, seconds, connections, [REQUEST]).run("127.0.0.1", port)

    return asyncio.run(run())


def test_every_request_is_counted() -> None:
    heard = asked(rate=100, seconds=0.4, connections=60, pause_s=0.001)
    counts = {status: len(times) for status, times in heard.seconds.items()}
    assert sum(counts.values()) + heard.unanswered == pytest.approx(40, abs=2)
    assert counts[200] == pytest.approx(20, abs=3)
    assert counts[429] == pytest.approx(10, abs=3)
    assert counts[0] == pytest.approx(10, abs=3)


def test_a_request_waits_for_a_connection_on_its_own_time() -> None:
    heard = asked(rate=100, seconds=0.2, connections=2, pause_s=0.05)
    # Two connections, one of which breaks at the third request: what is due then is never sent.
    assert heard.unanswered > 10
    assert max(max(times) for times in heard.seconds.values()) >= 0.05
