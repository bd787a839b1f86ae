"""skfleet's own handler without HTTP: its ASGI application, called as gunicorn calls it.

Arguments: port, path, headers as JSON, directory of bodies, seconds. Settings come from the environment as
for the service. Prints one line of JSON: requests, seconds, CPU seconds, and each call's time by percentile.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from skfleet.serving import gunicorn  # noqa: F401 - bounds BLAS before numpy is imported
from skfleet.serving.application import application


async def main(port, path, headers, directory, seconds):
    bodies = [file.read_bytes() for file in sorted(Path(directory).iterdir())]
    sent = {}

    async def send(message):
        sent.update(message)

    def receive_of(body):
        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        return receive

    pairs = [(name.lower().encode(), value.encode()) for name, value in json.loads(headers).items()]
    scopes = [
        {
            "type": "http", "method": "POST", "path": path, "query_string": b"", "raw_path": path.encode(),
            "server": ("127.0.0.1", int(port)), "client": ("127.0.0.1", 1), "http_version": "1.1",
            "scheme": "http", "root_path": "",
            "headers": [*pairs, (b"content-length", b"%d" % len(body))],
        }
        for body in bodies
    ]  # fmt: skip
    receives = [receive_of(body) for body in bodies]

    async def ask(index):
        await application(dict(scopes[index]), receives[index], send)

    for index in range(len(bodies)):
        await ask(index)
        if sent["status"] != 200:
            raise SystemExit(f"{sent['status']}: {sent['body'][:300]!r}")
    clock = time.perf_counter
    times = []
    began, cpu, end = clock(), time.process_time(), clock() + float(seconds)
    while (start := clock()) < end:
        await ask(len(times) % len(bodies))
        times.append(clock() - start)
    cpu, took = time.process_time() - cpu, clock() - began
    times.sort()
    at = {f"p{name}": times[int(len(times) * share)] * 1e3
          for name, share in (("50", 0.5), ("90", 0.9), ("99", 0.99), ("999", 0.999))}  # fmt: skip
    sys.stdout.write(json.dumps({"requests": len(times), "seconds": took, "cpu": cpu, **at}) + "\n")


asyncio.run(main(*sys.argv[1:]))
