"""An image's environment for tests of the cloud: `skfleet-converge` and a service of a few lines.

It does what the real ones do as far as the cloud can see: read the fleet from the metadata server by
google-auth, write a program file, tell supervisor, listen on the VM's ports. Nothing is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from skfleet.declared import declared

_CONVERGE = """\
#!{python}
import os, subprocess, sys, time
from pathlib import Path
import yaml

host_dir = Path(sys.argv[sys.argv.index("--host-dir") + 1])
for line in (host_dir / "host.env").read_text().splitlines():
    name, _, value = line.partition("=")
    os.environ[name] = value
from google.auth.compute_engine import _metadata
from google.auth.transport.requests import Request

host = yaml.safe_load((host_dir / "host.yml").read_text())
prefix = Path(host["skfleet_prefix"])
fleet = _metadata.get(Request(), "instance/attributes/skfleet-fleet")
program = prefix / "etc/supervisor/conf.d/skfleet.conf"
program.write_text(
    "[program:skfleet]\\n"
    f"command = {python} {service} {{host['skfleet_bind_address']}} {{fleet}} {{prefix}}\\n"
    f"environment = SKFLEET_LOCAL_RUN=\\"{{os.environ['SKFLEET_LOCAL_RUN']}}\\"\\n"
    "redirect_stderr = true\\n"
    f"stdout_logfile = {{prefix}}/var/log/skfleet.log\\n"
)
for command in (["reread"], ["update"]):
    subprocess.run([*host["skfleet_supervisorctl"], *command], check=True)
print("converged", fleet, flush=True)
"""

_SERVICE = """\
import json, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

address, fleet, prefix = sys.argv[1:]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        port = self.server.server_address[1]
        status = 200
        if self.path == "/livez" and Path(prefix, "run/dead").exists():
            status = 500
        if self.path == "/readyz" and Path(prefix, "run/unready").exists():
            status = 503
        body = json.dumps(
            {{
                "port": port,
                "path": self.path,
                "release": "stub",
                "fleet": fleet,
                "address": address,
                "reason": "told to" if status != 200 else "",
                "headers": {{name.lower(): value for name, value in self.headers.items()}},
            }}
        ).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Skfleet-Release", "stub")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


for port in PORTS:
    server = ThreadingHTTPServer((address, port), Handler)
    threading.Thread(target=server.serve_forever).start()
"""


def make(folder: Path) -> Path:
    """Write the environment and return it."""
    folder = folder.resolve()
    binaries = folder / "bin"
    binaries.mkdir(parents=True)
    service = folder / "service.py"
    text = _SERVICE.replace("{{", "{").replace("}}", "}")
    service.write_text(text.replace("PORTS", repr(declared().edge.ports())))
    converge = binaries / "skfleet-converge"
    converge.write_text(_CONVERGE.format(python=sys.executable, service=service))
    converge.chmod(0o755)
    return folder


if __name__ == "__main__":
    make(Path(sys.argv[1]))
