"""Requests and answers held against the published description of an API of Google's.

The description is the discovery document that google-api-python-client ships, by its file's name; the Compute
API's where none is named. What it does not know is a failure: an address, a parameter, a field, a value of an
enumeration.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import googleapiclient
import requests
from requests.adapters import HTTPAdapter

COMPUTE = "compute.v1"

_BOUNDS = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}


@cache
def document(api: str = COMPUTE) -> dict[str, Any]:
    """The document."""
    folder = Path(googleapiclient.__file__).parent / "discovery_cache/documents"
    found: dict[str, Any] = json.loads((folder / f"{api}.json").read_bytes())
    return found


def _methods(resources: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in resources.values():
        yield from resource.get("methods", {}).values()
        yield from _methods(resource.get("resources", {}))


@cache
def _table(api: str) -> list[tuple[str, re.Pattern[str], dict[str, Any]]]:
    prefix = "/" + document(api)["servicePath"]
    rows = []
    for method in _methods(document(api)["resources"]):
        address = prefix + method.get("flatPath", method["path"])
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/:]+)", address)
        rows.append((method["httpMethod"], re.compile(pattern), method))
    return rows


def method_of(
    verb: str, path: str, api: str = COMPUTE
) -> tuple[dict[str, Any], dict[str, str]] | None:
    """The published method at an address, and its parameters in the path."""
    for wanted, pattern, method in _table(api):
        if wanted == verb and (match := pattern.fullmatch(path)):
            return method, {key: unquote(value) for key, value in match.groupdict().items()}
    return None


def request_faults(verb: str, url: str, body: Any, api: str = COMPUTE) -> list[str]:
    """What a request has that is not published, or lacks."""
    parts = urlsplit(url)
    found = method_of(verb, parts.path, api)
    if found is None:
        return [f"{verb} {parts.path} is not published"]
    method, in_path = found
    known = {**document(api)["parameters"], **method.get("parameters", {})}
    # A flat path has a variable for each part of a resource's name, under names of its own.
    in_path = {name: value for name, value in in_path.items() if name in known}
    given = {**in_path, **{k: v[-1] for k, v in parse_qs(parts.query, True).items()}}
    faults = [f"parameter {name} is not published" for name in given.keys() - known.keys()]
    for name, schema in known.items():
        if name in given:
            faults += _text_faults(schema, given[name], f"parameter {name}")
        elif schema.get("required") and (schema["location"] != "path" or "flatPath" not in method):
            faults.append(f"parameter {name} is missing")
    if "request" not in method:
        return faults if body is None else [*faults, "a body where none is published"]
    if body is None:
        return [*faults, "no body"]
    return faults + schema_faults(method["request"], body, "body", sent=True, api=api)


def answer_faults(verb: str, url: str, status: int, body: Any, api: str = COMPUTE) -> list[str]:
    """What an answer has that is not published."""
    if status >= 400:
        return _error_faults(status, body)
    found = method_of(verb, urlsplit(url).path, api)
    if found is None or "response" not in found[0]:
        return ["an answer where none is published"]
    return schema_faults(found[0]["response"], body, found[0]["response"]["$ref"], api=api)


def _error_faults(status: int, body: Any) -> list[str]:
    """The one shape of errors, which the document leaves out."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or error.get("code") != status or not error.get("message"):
        return [f"no error in Google's form: {body}"]
    items = error.get("errors") or [{}]
    return [
        f"an error lacks {name}"
        for item in items
        for name in ("message", "domain", "reason")
        if name not in item
    ]


def schema_faults(
    schema: dict[str, Any], value: Any, where: str, sent: bool = False, api: str = COMPUTE
) -> list[str]:
    """Walk a value beside its schema. `sent`: what only Google may say is a fault."""
    if "$ref" in schema:
        target = document(api)["schemas"][schema["$ref"]]
        return schema_faults({**target, **_without_ref(schema)}, value, where, sent, api)
    kind = schema.get("type", "any")
    if kind == "object":
        return _object_faults(schema, value, where, sent, api)
    if kind == "array":
        if not isinstance(value, list):
            return [f"{where} is no list: {value!r}"]
        return [
            fault
            for number, item in enumerate(value)
            for fault in schema_faults(schema["items"], item, f"{where}[{number}]", sent, api)
        ]
    if kind == "any":
        return []
    if kind == "boolean":
        return [] if isinstance(value, bool) else [f"{where} is no boolean: {value!r}"]
    if kind in ("integer", "number"):
        numbers = (int,) if kind == "integer" else (int, float)
        if isinstance(value, bool) or not isinstance(value, numbers):
            return [f"{where} is no {kind}: {value!r}"]
        low, high = _BOUNDS.get(schema.get("format", ""), (value, value))
        return [] if low <= value <= high else [f"{where} is out of range: {value}"]
    if not isinstance(value, str):
        return [f"{where} is no string: {value!r}"]
    return _text_faults(schema, value, where)


def _without_ref(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in schema.keys() & {"readOnly"}}


def _object_faults(
    schema: dict[str, Any], value: Any, where: str, sent: bool, api: str
) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where} is no object: {value!r}"]
    known = schema.get("properties", {})
    faults = []
    for key, item in value.items():
        place = f"{where}.{key}"
        if key in known:
            if sent and known[key].get("readOnly"):
                faults.append(f"{place} is Google's to say")
            faults += schema_faults(known[key], item, place, sent, api)
        elif "additionalProperties" in schema:
            faults += schema_faults(schema["additionalProperties"], item, place, sent, api)
        else:
            faults.append(f"{place} is not published")
    return faults


def _text_faults(schema: dict[str, Any], value: str, where: str) -> list[str]:
    """A string of a document, or a parameter, whatever its type."""
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where} is none of {schema['enum']}: {value!r}"]
    if "pattern" in schema and not re.fullmatch(schema["pattern"], value):
        return [f"{where} does not match {schema['pattern']}: {value!r}"]
    form = schema.get("format", "")
    if form in _BOUNDS:
        if not re.fullmatch(r"-?\d+", value):
            return [f"{where} is no {form}: {value!r}"]
        low, high = _BOUNDS[form]
        low = int(schema.get("minimum", low))
        return [] if low <= int(value) <= high else [f"{where} is out of range: {value}"]
    if form == "byte":
        try:
            base64.b64decode(value, altchars=b"-_", validate=True)
        except binascii.Error:
            return [f"{where} is no base64: {value!r}"]
    if schema.get("type") == "boolean" and value not in ("true", "false"):
        return [f"{where} is no boolean: {value!r}"]
    return []


@dataclass
class Seen:
    """One call: what was asked, what was answered, and what of it is not published."""

    verb: str
    url: str
    body: Any
    status: int
    faults: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def request_id(self) -> str:
        return parse_qs(urlsplit(self.url).query).get("requestId", [""])[0]


class Witness(HTTPAdapter):
    """Sits in a session of requests and holds every call against the document."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **kw: Any) -> requests.Response:
        body = json.loads(request.body) if request.body else None
        answer = super().send(request, *args, **kw)
        verb, url = str(request.method), str(request.url)
        faults = [
            *(f"request: {fault}" for fault in request_faults(verb, url, body)),
            *(
                f"answer: {fault}"
                for fault in answer_faults(verb, url, answer.status_code, answer.json())
            ),
        ]
        self.seen.append(Seen(verb, url, body, answer.status_code, faults))
        return answer

    def assert_published(self) -> None:
        """Fail with everything that is not."""
        wrong = [f"{s.verb} {s.path}: {fault}" for s in self.seen for fault in s.faults]
        assert not wrong, "\n".join(sorted(set(wrong)))
