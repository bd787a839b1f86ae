"""The access log's way out: nothing that happens to it may hold up a prediction."""

from __future__ import annotations

import os
import socket
import threading

from skfleet.serving.accesslog import Stdout


def test_a_reader_that_stopped_costs_lines_and_no_time() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        out = Stdout(ours.fileno())
        writing = threading.Thread(
            target=lambda: [out.write(b"x" * 999 + b"\n") for _ in range(5000)], daemon=True
        )
        writing.start()
        writing.join(10)
        assert not writing.is_alive(), "writing waits for a reader"


def test_what_arrives_is_whole_lines() -> None:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with theirs:
        theirs.settimeout(0.2)
        received = b""
        with ours:
            out = Stdout(ours.fileno())
            for number in range(3000):
                out.write(b"%06d" % number + b"y" * (number % 700) + b"\n")
                if number % 50 == 49:
                    received += theirs.recv(1 << 20)
            for _ in range(50):
                out.write(b"end\n")
                try:
                    received += theirs.recv(1 << 20)
                except TimeoutError:
                    break
    lines = received.split(b"\n")
    numbered = [line for line in lines if line and line != b"end"]
    assert numbered
    for line in numbered:
        assert line == line[:6] + b"y" * (int(line[:6]) % 700)


def test_a_pipe_nobody_reads_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    Stdout(writing).write(b"lost\n")
    os.close(writing)
