"""python -m apply.emulator serve|env|report"""

import argparse
import collections
import json
import re
from collections.abc import Iterator
from pathlib import Path


def endpoints(port: int) -> Iterator[tuple[str, str]]:
    """The provider's custom endpoint variables, every one of them pointed at the emulator."""
    for line in (Path(__file__).parent / "endpoints.tsv").read_text().split("\n"):
        if line:
            variable, url = line.split("\t")
            host, path = re.match(r"https://([^/]+)(/.*)", url).groups()
            name = re.sub(r"^\{\{\w+\}\}-", "", host.split(".")[0])
            own = path.startswith(f"/{name}/") or name == "www"
            yield variable, f"http://127.0.0.1:{port}{'' if own else f'/{name}'}{path}"


def variables(port: int, project: str) -> Iterator[tuple[str, str]]:
    """Every environment variable that points the provider at the emulator."""
    yield from endpoints(port)
    yield "GOOGLE_OAUTH_ACCESS_TOKEN", "placeholder"
    yield "GOOGLE_PROJECT", project
    yield "STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}"


def env(args):
    for variable, url in variables(args.port, args.project):
        print(f"export {variable}={url}")


def serve(args):
    from .server import Server

    server = Server(
        args.port, args.journal, project=args.project, number=args.number, fresh=args.fresh_project
    )
    print(f"emulator on http://127.0.0.1:{args.port}, journal {args.journal}", flush=True)
    server.serve_forever()


def report(args):
    entries = [json.loads(line) for line in Path(args.journal).read_text().splitlines()]
    counts = collections.Counter((e["id"] or "UNMATCHED", e["status"]) for e in entries)
    for (name, status), n in sorted(counts.items()):
        print(f"{n:6} {status} {name}")
    sections = {
        "unmatched": [e for e in entries if not e["id"]],
        "refused": [
            e
            for e in entries
            if e["id"] and e["status"] >= 400 and not (e["status"] == 404 and e["method"] == "GET")
        ],
        "approximated": [e for e in entries if e.get("notes")],
        "answers that do not fit Google's schema": [e for e in entries if e.get("response_errors")],
    }
    print(f"\n{len(entries)} requests, {len({e['id'] for e in entries})} methods")
    for title, found in sections.items():
        print(f"{len(found)} {title}")
        for e in found[:40]:
            print(
                "   ",
                e["status"],
                e["method"],
                e["path"],
                e.get("error") or e.get("notes") or e.get("response_errors"),
            )


def main():
    parser = argparse.ArgumentParser(prog="python -m apply.emulator")
    commands = parser.add_subparsers(required=True)
    for fn in (serve, env, report):
        sub = commands.add_parser(fn.__name__)
        sub.set_defaults(run=fn)
        if fn is report:
            sub.add_argument("journal")
            continue
        sub.add_argument("--port", type=int, default=8900)
        sub.add_argument("--project", default="demo-project")
        if fn is serve:
            sub.add_argument("--number", default="123456789012")
            sub.add_argument("--journal", default="emulator.jsonl")
            sub.add_argument(
                "--fresh-project",
                action="store_true",
                help="APIs answer 403 until they are enabled",
            )
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
