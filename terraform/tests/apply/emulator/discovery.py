"""Google's discovery documents used as a router and as a validator."""

import base64
import binascii
import functools
import json
import re
from pathlib import Path

import googleapiclient

DOCUMENTS = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
INT_RANGE = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
LEGACY = {"compute", "storage", "dns"}  # these do not take snake_case field names
UNPUBLISHED = {  # members the schema does not list and Google's own provider sends all the same
    ("NetworkRoutingConfig", "deleteBgpAlwaysCompareMed"),
    ("RouterNat", "initialNatIps"),
}


def camel(name):
    return re.sub(r"_([a-z0-9])", lambda m: m[1].upper(), name)


class Method:
    def __init__(self, api, raw):
        self.api, self.id, self.http = api, raw["id"], raw["httpMethod"]
        self.name = self.id.rsplit(".", 1)[-1]
        self.params = raw.get("parameters", {})
        self.request = raw.get("request", {}).get("$ref")
        self.response = raw.get("response", {}).get("$ref")
        self.template = api.prefix + raw["path"]
        self.full_names = "{+" in self.template  # this API names resources by their whole path
        verb = re.search(r":(\w+)$", self.template)
        tail = re.search(r"\}/([A-Za-z]+)$", self.template)
        self.verb = verb[1] if verb else None
        self.tail = (
            tail[1]
            if tail and self.name not in ("list", "insert", "create", "patch", "update")
            else None
        )
        parts = re.split(r"(\{\+?\w+\})", self.template)
        self.literals = sum(len(p) for p in parts if not p.startswith("{"))
        self.regex = re.compile(
            "".join(self._group(p) if p.startswith("{") else re.escape(p) for p in parts) + "$"
        )

    def _group(self, part):
        name = part.strip("{+}")
        if not part.startswith("{+"):
            return f"(?P<{name}>[^/]+?)"
        return f"(?P<{name}>{self.params[name].get('pattern', '.+').strip('^$')})"


class Api:
    def __init__(self, name, doc):
        self.name, self.schemas, self.params = name, doc["schemas"], doc.get("parameters", {})
        base = doc["servicePath"]
        self.prefix = (
            base
            if base.startswith(name + "/") or self._first(doc).startswith(name + "/")
            else f"{name}/{base}"
        )
        self.methods = [Method(self, m) for m in self._methods(doc)]

    @classmethod
    def _methods(cls, node):
        yield from node.get("methods", {}).values()
        for child in node.get("resources", {}).values():
            yield from cls._methods(child)

    def _first(self, doc):
        return next(self._methods(doc))["path"]

    def match(self, http, path):
        hits = [
            (m.literals, m, hit)
            for m in self.methods
            if m.http == http and (hit := m.regex.match(path))
        ]
        return max(hits, key=lambda h: h[0])[1:] if hits else None

    def resource_schema(self, method):
        """The schema of the resource a create or update method takes, and how its body wraps it."""
        if not method.request:
            return None, None
        props = self.schemas[method.request].get("properties", {})
        refs = [p for p, s in props.items() if "$ref" in s]
        wrapped = (
            method.name == "create"
            and len(refs) == 1
            and any(p.endswith("Id") for p in props)
            and len(props) <= 3
        )
        return (props[refs[0]]["$ref"], refs[0]) if wrapped else (method.request, None)

    def properties(self, schema):
        return self.schemas.get(schema, {}).get("properties", {}) if schema else {}

    # ------------------------------------------------------------------ validation
    def check_query(self, method, query):
        known = {**self.params, **method.params}
        errors = [
            f'Invalid JSON payload received. Unknown name "{k}": Cannot bind query parameter.'
            for k in query
            if k not in known and not k.startswith("$")
        ]
        for k, v in query.items():
            allowed = known.get(k, {}).get("enum")
            if allowed and any(x not in allowed for x in v):
                errors.append(f"Invalid value at '{k}': {v}")
        return errors

    def clean(self, schema, value, where, errors, method_id="", strip=True):
        """`value` without its output-only members (`strip`); what Google would refuse goes to `errors`."""

        def bad(kind):
            errors.append(f"Invalid value at '{where}' ({kind}), {json.dumps(value)[:80]}")
            return value

        if value is None:
            return None
        if "$ref" in schema:
            schema = self.schemas[schema["$ref"]]
        kind, form = schema.get("type", "any"), schema.get("format")
        if kind == "any":
            return value
        if kind == "object":
            return (
                self._clean_object(schema, value, where, errors, method_id, strip)
                if isinstance(value, dict)
                else bad("OBJECT")
            )
        if kind == "array":
            if not isinstance(value, list):
                return bad("LIST")
            return [
                self.clean(schema["items"], v, f"{where}[{i}]", errors, method_id, strip)
                for i, v in enumerate(value)
                if v is not None
            ]
        if kind == "boolean":
            return value if isinstance(value, bool) else bad("TYPE_BOOL")
        if kind == "integer" or form in INT_RANGE:
            try:
                number = (
                    int(value)
                    if not isinstance(value, (bool, list, dict))
                    and float(value) == int(float(value))
                    else None
                )
            except (ValueError, OverflowError):
                number = None
            low, high = INT_RANGE.get(form, INT_RANGE["int64"])
            if number is None or not low <= number <= high:
                return bad(f"TYPE_{(form or 'int32').upper()}")
            return str(number) if kind == "string" else number
        if kind == "number":
            return (
                value
                if isinstance(value, (int, float)) and not isinstance(value, bool)
                else bad("TYPE_DOUBLE")
            )
        if not isinstance(value, str):
            return bad("TYPE_STRING")
        if value and "enum" in schema and value not in schema["enum"]:
            return bad("TYPE_ENUM")
        if value and form == "byte":
            try:
                base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
            except binascii.Error:
                return bad("TYPE_BYTES")
        pattern = schema.get("pattern")
        if strip and value and pattern and not re.fullmatch(pattern, value):
            errors.append(
                f"Invalid value for field '{where}': '{value}'. Must be a match of regex '{pattern}'"
            )
        return value

    def _clean_object(self, schema, value, where, errors, method_id, strip):
        props, extra, out = schema.get("properties", {}), schema.get("additionalProperties"), {}
        if not props and extra is None:
            return value
        for key, member in value.items():
            name = key
            if name not in props and self.name not in LEGACY:
                name = camel(key)
            if name in props:
                cleaned = self.clean(
                    props[name], member, f"{where}.{name}", errors, method_id, strip
                )
                if not (strip and props[name].get("readOnly")):
                    out[name] = (
                        None if cleaned == "" and name != "value" else cleaned
                    )  # "" is how a client unsets a string
            elif extra is not None:
                out[key] = self.clean(extra, member, f"{where}.{key}", errors, method_id, strip)
            elif (
                key != "@type" and member is not None and (schema.get("id"), key) not in UNPUBLISHED
            ):  # the provider sends nulls of other fields
                errors.append(
                    f"Invalid JSON payload received. Unknown name \"{key}\" at '{where}': Cannot find field."
                )
        for name, prop in props.items():
            if (
                method_id.endswith("insert")
                and method_id in prop.get("annotations", {}).get("required", ())
                and value.get(name) in ((None,) if name == "value" else (None, ""))
            ):  # Google takes an empty metadata value
                errors.append(f"Required field '{where}.{name}' not specified")
        return out


@functools.cache
def load(name, version):
    path = DOCUMENTS / f"{name}.{version}.json"
    return Api(name, json.loads(path.read_text())) if path.exists() else None


def find(http, path):
    """(method, match) for a request path such as /compute/v1/projects/..., or None."""
    segments = path.strip("/").split("/")
    version = next((s for s in segments[1:3] if re.match(r"v\d|beta$|alpha$", s)), "")
    api = load(segments[0], version)
    return api.match(http, "/".join(segments)) if api else None
