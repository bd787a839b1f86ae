"""The store and the behaviour every Google API shares: CRUD, lists, IAM policies, operations."""

import base64
import copy
import datetime
import fnmatch
import json
import random
import re
import string
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from .discovery import LEGACY, camel

ALWAYS_ON = {
    f"{s}.googleapis.com"
    for s in "cloudbilling cloudresourcemanager iam logging monitoring serviceusage storage".split()
}
ERRORS = {
    400: ("INVALID_ARGUMENT", "invalid"),
    403: ("PERMISSION_DENIED", "forbidden"),
    404: ("NOT_FOUND", "notFound"),
    409: ("ALREADY_EXISTS", "alreadyExists"),
    412: ("FAILED_PRECONDITION", "conditionNotMet"),
    501: ("UNIMPLEMENTED", "notImplemented"),
}
DEFAULTS = json.loads((Path(__file__).parent / "defaults.json").read_text())
HANDLERS, VIEWS = [], {}
WRITERS, AFTER, DELETERS = [], [], []  # called before a write, after it, before a delete


class Refused(Exception):
    def __init__(self, code, message, reason=None, status=None):
        super().__init__(message)
        known = ERRORS.get(code, ("INTERNAL", "backendError"))
        self.code, self.status, self.reason = code, status or known[0], reason or known[1]

    def body(self):
        return {
            "error": {
                "code": self.code,
                "message": str(self),
                "status": self.status,
                "errors": [{"message": str(self), "domain": "global", "reason": self.reason}],
            }
        }


def on(*patterns):
    """Registers a handler for the discovery method ids that match; the first registered wins."""
    return lambda fn: HANDLERS.extend((p, fn) for p in patterns) or fn


def view(*collections):
    """Registers what Google fills in when it shows a resource of these collections (api/collection)."""
    return lambda fn: VIEWS.update(dict.fromkeys(collections, fn)) or fn


def now():
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def token():
    return base64.b64encode(random.randbytes(9)).decode()


def slug(n=4):
    return "".join(random.choices(string.ascii_lowercase + string.digits, k=n))


def merge(base, patch):
    """JSON merge patch: objects merge, a null removes, anything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    base = base if isinstance(base, dict) else {}
    out = {**base, **{k: merge(base.get(k), v) for k, v in patch.items()}}
    return {k: v for k, v in out.items() if v is not None}


def fill(target, defaults):
    """Add what is missing; `name[]` applies to each element of a list, `name?` to an object that is there."""
    for key, value in defaults.items():
        name = key.rstrip("[]?")
        if key.endswith("[]"):
            for element in target.get(name, []):
                fill(element, value)
        elif isinstance(value, dict) and (name in target or not key.endswith("?")):
            fill(target.setdefault(name, {}), value)
        elif not key.endswith("?"):
            target.setdefault(name, copy.deepcopy(value))
    return target


def escape(segment):
    return quote(unquote(segment), safe="~:@!$&'()*+,;=")


@dataclass
class Resource:
    key: str  # api/path, without the API version
    method: object  # the discovery method that made it
    spec: dict  # what the client set
    schema: str = None
    server: dict = field(default_factory=dict)  # what the server set; names with _ are not shown
    owner: str = None  # the key of the resource that manages this one
    seeded: bool = False

    def __post_init__(self):
        self.api, self.path = self.key.split("/", 1)
        self.collection, name = self.key.rsplit("/", 2)[-2:]
        self.name = unquote(name)

    def once(self, name, make):
        return self.server[name] if name in self.server else self.server.setdefault(name, make())


@dataclass
class Call:
    cloud: object
    method: object
    args: dict
    path: str  # as requested, with the API version
    query: dict
    body: dict = None
    media: bytes = None
    media_type: str = None
    notes: list = field(default_factory=list)

    def __post_init__(self):
        path = re.sub(r":\w+$", "", self.path) if self.method.verb else self.path
        path = path.rsplit("/", 1)[0] if self.method.tail else path
        parts = [escape(s) for s in path.strip("/").split("/")]
        parts = [s for i, s in enumerate(parts) if not (i in (1, 2) and re.match(r"v\d|beta$", s))]
        for i, s in enumerate(parts[:-1]):
            if s == "projects" and parts[i + 1] in (self.cloud.number, "-"):
                parts[i + 1] = self.cloud.project
        if self.method.name in ("patch", "update") and parts[-1][:-1] in self.query:
            parts += self.query[parts[-1][:-1]]  # compute names an autoscaler in the query
        if (
            parts[0] == "compute"
            and len(parts) > 3
            and parts[1] == "projects"
            and parts[3] in ("targetHttpsProxies", "targetHttpProxies")
        ):
            parts.insert(
                3, "global"
            )  # setSslCertificates, setUrlMap of global proxies have a path without global/
        self.key = "/".join(parts)
        if self.method.api.name not in LEGACY:
            self.query = {
                k if k in self.method.params else camel(k): v for k, v in self.query.items()
            }

    def arg(self, name, default=None):
        return self.query.get(name, [default])[0]


class Cloud:
    def __init__(self, project="demo-project", number="123456789012", fresh=False):
        self.project, self.number, self.fresh = project, number, fresh
        self.lock, self.services = threading.RLock(), set(ALWAYS_ON)
        self.resources, self.policies, self.operations, self.blobs = {}, {}, {}, {}
        self.addresses, self.ids = 0, random.randrange(10**17, 9 * 10**17)

    # ------------------------------------------------------------------ dispatch
    def handle(self, call):
        m, service = call.method, f"{call.method.api.name}.googleapis.com"
        if self.fresh and service not in self.services:
            raise Refused(
                403,
                f"{service} has not been used in project {self.number} before or it is disabled.",
                "accessNotConfigured",
            )
        errors = m.api.check_query(m, call.query)
        if call.body and not m.request:
            errors.append("Request body is not empty, but this method takes none")
        elif call.body is not None and m.request:
            call.body = m.api.clean({"$ref": m.request}, call.body, "resource", errors, m.id)
        if errors:
            raise Refused(400, "; ".join(errors))
        return next(
            (fn for pattern, fn in HANDLERS if fnmatch.fnmatchcase(m.id, pattern)), Cloud.generic
        )(self, call)

    def generic(self, call):
        m = call.method
        if m.http == "GET" and m.tail and not m.name.startswith("list"):
            raise Refused(501, f"emulator does not model {m.id}")
        if m.http == "GET":
            return self.list(call) if m.name.startswith("list") else self.view(self.need(call.key))
        if m.name in ("create", "insert", "createAsync"):
            return self.reply(call, self.create(call))
        if m.name in ("patch", "update", "updateAsync"):
            return self.reply(call, self.update(call))
        if m.http == "DELETE" and not m.tail:
            res = self.need(call.key)
            self.delete(res)
            return self.reply(call, res, gone=True)
        call.notes.append("accepted without effect")
        return self.reply(call, self.resources.get(call.key))

    # ------------------------------------------------------------------ store
    def find(self, key):
        """By key, or by the numeric id that may stand for the name."""
        if key in self.resources or not key.rsplit("/", 1)[-1].isdigit():
            return self.resources.get(key)
        prefix, number = key.rsplit("/", 1)
        return next((r for r in self.children(prefix) if r.server.get("id") == number), None)

    def need(self, key, message=None):
        found = self.find(key)
        if not found:
            raise Refused(404, message or f"The resource '{key.split('/', 1)[1]}' was not found")
        return found

    def children(self, prefix):
        return [
            r
            for k, r in sorted(self.resources.items())
            if k.startswith(prefix + "/") and "/" not in k[len(prefix) + 1 :]
        ]

    def create(self, call, name=None):
        m, body = call.method, merge({}, call.body or {})
        collection, leaf = call.key.rsplit("/", 1) if m.http == "PUT" else (call.key, None)
        schema, wrapper = m.api.resource_schema(m)
        if wrapper:
            chosen, body = (
                next((v for k, v in body.items() if k.endswith("Id")), None),
                body.get(wrapper, {}),
            )
        else:
            ids = [
                p
                for p in m.params
                if p.endswith("Id") and m.params[p]["location"] == "query" and p != "requestId"
            ]
            chosen = next((call.arg(p) for p in ids if call.arg(p)), leaf)
        given = (
            "" if chosen else body.get("name", "").removeprefix(collection.split("/", 1)[1] + "/")
        )
        name = (
            name
            or chosen
            or given
            or (str(random.randrange(10**17, 10**18)) if m.full_names else None)
        )
        if not name:
            raise Refused(400, "Required field 'resource.name' not specified", "required")
        self.parent_exists(collection.rsplit("/", 1)[0])
        key = f"{collection}/{escape(name).replace('/', '%2F')}"
        if key in self.resources:
            raise Refused(409, f"The resource '{key.split('/', 1)[1]}' already exists")
        shown = key.split("/", 1)[1] if m.full_names and not given else body.get("name") or name
        return self.put(key, m, {**body, "name": shown}, schema)

    def parent_exists(self, parent):
        steps = parent.split("/")
        if "projects" in steps[1:-1] and steps[steps.index("projects", 1) + 1] != self.project:
            raise Refused(404, f"The resource '{'/'.join(steps[1:])}' was not found")
        if (
            len(steps) > 2
            and steps[-1] != "global"
            and (
                steps[-2] not in ("projects", "regions", "zones", "locations")
                or steps[0] == "compute"
            )
        ):
            self.need(parent)

    def put(self, key, method, spec, schema=None, owner=None, server=None):
        res = Resource(key, method, spec, schema, dict(server or {}), owner)
        for check in WRITERS:
            check(self, res)
        self.resources[key] = res
        self.stamp(res)
        for follow in AFTER:
            follow(self, res)
        return res

    def replace(self, res, spec):
        old, res.spec = res.spec, spec
        try:
            for check in WRITERS:
                check(self, res)
        except Refused:
            res.spec = old
            raise
        self.touch(res)
        for follow in AFTER:
            follow(self, res)
        return res

    def stamp(self, res):
        """Server-filled members, by the names the resource's schema gives them."""
        self.ids += random.randrange(1, 10**6)
        props, link = (
            res.method.api.properties(res.schema),
            f"https://www.googleapis.com/{res.api}/v1/{res.path}",
        )
        values = {
            "id": str(self.ids),
            "creationTimestamp": now(),
            "createTime": now(),
            "timeCreated": now(),
            "selfLink": link,
            "selfLinkWithId": link.rsplit("/", 1)[0] + f"/{self.ids}",
            "kind": props.get("kind", {}).get("default")
            or f"{res.api}#{res.collection.rstrip('s')}",
        }
        if res.api == "compute" and (
            scope := re.match(r"projects/[^/]+/(region|zone)s/[^/]+", res.path)
        ):
            values[scope[1]] = f"https://www.googleapis.com/compute/v1/{scope[0]}"
        res.server = {
            **{k: v for k, v in values.items() if props.get(k, {}).get("type") == "string"},
            **res.server,
        }
        self.touch(res)

    def touch(self, res):
        props = res.method.api.properties(res.schema) if res.method else {}
        changed = {
            "fingerprint": token,
            "labelFingerprint": token,
            "etag": token,
            "updateTime": now,
            "updated": now,
        }
        res.server.update({k: make() for k, make in changed.items() if k in props})

    def view(self, res):
        """The resource as Google shows it: what the server set, what the client set, then the defaults."""
        kind = f"{res.api}/{res.collection}"
        shown = {k: v for k, v in merge(res.server, res.spec).items() if not k.startswith("_")}
        fill(shown, DEFAULTS.get(kind, {}) if res.method else {})
        if kind in VIEWS:
            VIEWS[kind](self, res, shown)
        return shown

    def guard(self, res, body):
        """Optimistic locking: a stale fingerprint or etag is refused, a current one is not stored."""
        for name in ("fingerprint", "labelFingerprint", "etag"):
            sent = body.pop(name, None)
            if sent and res.server.get(name, sent) != sent:
                raise Refused(
                    412, f"Invalid {name}: the resource '{res.path}' has changed since it was read"
                )

    def update(self, call, body=None):
        res, body = self.need(call.key), dict(call.body if body is None else body)
        mask = [camel(p) for p in (call.arg("updateMask") or "").split(",") if p]
        self.guard(res, body)
        body.pop("name", None)
        if mask and mask != ["*"]:
            spec = copy.deepcopy(res.spec)
            for *steps, last in (p.split(".") for p in mask):
                source, target = body, spec
                for step in steps:
                    source, target = (source or {}).get(step), target.setdefault(step, {})
                target.pop(last, None)
                target.update(
                    {last: source[last]} if source and source.get(last) is not None else {}
                )
            return self.replace(res, spec)
        return self.replace(
            res,
            {**merge({}, body), "name": res.spec.get("name")}
            if call.method.http == "PUT"
            else merge(res.spec, body),
        )

    def delete(self, res):
        gone = {res.key}
        while more := {k for k, r in self.resources.items() if r.owner in gone} - gone:
            gone |= more
        for check in DELETERS:
            check(self, res, gone)
        for key in gone:
            for table in (self.resources, self.policies, self.blobs):
                table.pop(key, None)

    # ------------------------------------------------------------------ answers
    def list(self, call):
        items = [self.view(r) for r in self.children(call.key)]
        return self.listing(call, [i for i in items if matches(i, call.arg("filter"), call.notes)])

    def listing(self, call, items):
        props = call.method.api.properties(call.method.response)
        member = next(
            (
                p
                for p, s in props.items()
                if s.get("type") == "array" and p not in ("warnings", "unreachable")
            ),
            "items",
        )
        return {
            k: v for k, v in (("kind", props.get("kind", {}).get("default")), (member, items)) if v
        }

    def reply(self, call, res, gone=False):
        """The answer the method's schema asks for: an operation, the resource, or nothing."""
        response, api = call.method.response, call.method.api.name
        if response and "Operation" in response and api == "compute":
            return self.compute_operation(call, res)
        if response and "Operation" in response and api == "dns":
            return {
                "kind": "dns#operation",
                "id": slug(12),
                "status": "done",
                "type": call.method.name,
            }
        if response and "Operation" in response:
            place = re.match(r"[^/]+/(.*?locations/[^/]+)/", call.key)
            name = f"{place[1] + '/' if place else ''}operations/operation-{slug(16)}"
            payload = (
                {"@type": f"type.googleapis.com/{res.schema}", **self.view(res)}
                if res and not gone
                else {"@type": "type.googleapis.com/google.protobuf.Empty"}
            )
            return self.operations.setdefault(
                name, {"name": name, "done": True, "response": payload}
            )
        if not response or "Empty" in response or not res:
            return {} if response else None
        return self.view(res)

    def compute_operation(self, call, res=None):
        stamp, scope = now(), re.search(r"projects/[^/]+/(?:(region|zone)s/[^/]+|global)", call.key)
        name = f"operation-{slug(13)}-{slug(13)}"
        path = f"{scope[0] if scope else f'projects/{self.project}/global'}/operations/{name}"
        op = {
            "kind": "compute#operation",
            "id": str(random.randrange(10**18)),
            "name": name,
            "status": "DONE",
            "progress": 100,
            "operationType": call.method.name,
            "insertTime": stamp,
            "startTime": stamp,
            "endTime": stamp,
            "user": "fake@example.com",
            "selfLink": f"https://www.googleapis.com/compute/v1/{path}",
        }
        op.update(
            {"targetLink": res.server.get("selfLink", ""), "targetId": res.server.get("id", "0")}
            if res
            else {}
        )
        op.update(
            {scope[1]: f"https://www.googleapis.com/compute/v1/{scope[0]}"}
            if scope and scope[1]
            else {}
        )
        return self.operations.setdefault(path, op)

    def dump(self):
        """What every resource is set to, defaults filled in, without what the server makes anew each time."""
        return {
            "resources": {
                k: fill(copy.deepcopy(r.spec), DEFAULTS.get(f"{r.api}/{r.collection}", {}))
                for k, r in sorted(self.resources.items())
                if not r.seeded
            },
            "policies": self.state()["policies"],
        }

    def state(self):
        """What is left beyond what the server started with."""
        return {
            "resources": sorted(k for k, r in self.resources.items() if not r.seeded),
            "policies": {k: p["bindings"] for k, p in self.policies.items() if p.get("bindings")},
        }


def matches(item, text, notes):
    """`field = value`, `field eq value`, `field:value`, joined by AND; anything else passes, and is noted."""
    for term in re.split(r"\s+AND\s+", (text or "").strip("() ")) if text else ():
        hit = re.fullmatch(
            r"\(?\s*([\w.]+)\s*(=|:|eq|ne|!=)\s*\"?([^\"()]*?)\"?\s*\)?", term.strip()
        )
        if not hit:
            notes.append(f"filter not understood: {term}")
            continue
        value = item
        for step in hit[1].split("."):
            value = value.get(step) if isinstance(value, dict) else None
        same = (
            bool(re.fullmatch(hit[3].replace("*", ".*"), str(value)))
            or str(value).rsplit("/", 1)[-1] == hit[3]
        )
        if same != (hit[2] not in ("ne", "!=")):
            return False
    return True


# ---------------------------------------------------------------------- every API: IAM policies, operations
@on("*.getIamPolicy")
def policy_of(cloud, call):
    key = target = call.key
    if hit := re.search(r"^iap/.*iap_web/compute(?:-([^/]+))?/services/([^/]+)$", key):
        place = f"regions/{hit[1]}" if hit[1] else "global"
        target = f"compute/projects/{cloud.project}/{place}/backendServices/{hit[2]}"
    if hit or not key.startswith("iap/"):
        cloud.need(target)
    start = {"version": 1, "etag": "ACAB"}
    if re.fullmatch(r"storage/b/[^/]+", key):
        start.update(
            kind="storage#policy",
            resourceId=f"projects/_/buckets/{key.split('/')[2]}",
            bindings=[
                {
                    "role": "roles/storage.legacyBucketOwner",
                    "members": [f"projectEditor:{cloud.project}", f"projectOwner:{cloud.project}"],
                }
            ],
        )
    return cloud.policies.get(key, start)


@on("*.setIamPolicy")
def set_policy(cloud, call):
    held, body = policy_of(cloud, call), call.body or {}
    policy = merge(
        {}, body.get("policy") or {k: body[k] for k in ("bindings", "etag", "version") if k in body}
    )
    if policy.get("etag", held["etag"]) != held["etag"]:
        raise Refused(
            409,
            "There were concurrent policy changes. Please retry the whole read-modify-write.",
            "aborted",
            "ABORTED",
        )
    for binding in policy.get("bindings", []):
        role = binding.get("role", "")
        if not re.fullmatch(r"(roles|(projects|organizations)/[^/]+/roles)/[\w.]+", role):
            raise Refused(400, f"Role {role} is not supported for this resource.")
        if role.startswith("projects/"):
            cloud.need("iam/" + role, f"Role {role} was not found")
        for kind, _, email in (m.partition(":") for m in binding.get("members", [])):
            if not re.fullmatch(
                "user|serviceAccount|group|domain|project(Owner|Editor|Viewer)|deleted|principal(Set)?|all(Authenticated)?Users",
                kind,
            ):
                raise Refused(400, f"Invalid member type: {kind}")
            if kind == "serviceAccount" and not account_exists(cloud, email):
                raise Refused(400, f"Service account {email} does not exist.")
    policy["bindings"] = [b for b in policy.get("bindings", []) if b.get("members")]
    kept = {k: held[k] for k in ("kind", "resourceId") if k in held}
    cloud.policies[call.key] = {"version": 1, **kept, **policy, "etag": token()}
    return cloud.policies[call.key]


def account_exists(cloud, email):
    mine = email.endswith(f"@{cloud.project}.iam.gserviceaccount.com")
    return not mine or f"iam/projects/{cloud.project}/serviceAccounts/{email}" in cloud.resources


@on("*.testIamPermissions")
def test_permissions(cloud, call):
    return {
        "permissions": (call.body or {}).get("permissions") or call.query.get("permissions", [])
    }


@on("*perations.get", "*perations.wait")
def get_operation(cloud, call):
    name = call.key.split("/", 1)[1]
    if name not in cloud.operations:
        raise Refused(404, f"The operation '{name}' was not found")
    return cloud.operations[name]
