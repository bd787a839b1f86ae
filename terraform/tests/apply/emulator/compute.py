"""Compute Engine: the catalogue, references between resources, rules, managed instance groups."""

import functools
import hashlib
import ipaddress
import random
import re

from .cloud import (
    AFTER,
    DEFAULTS,
    DELETERS,
    WRITERS,
    Refused,
    Resource,
    account_exists,
    fill,
    merge,
    on,
    slug,
    token,
    view,
)

REGIONS = {"us-central1": "abcf", "europe-west1": "bcd"}
MACHINES = ["f1-micro", "g1-small", "e2-micro", "e2-small", "e2-medium"] + [
    f"{family}-{kind}-{n}"
    for family in ("e2", "n1", "n2", "n2d", "c3", "t2d")
    for kind in ("standard", "highmem", "highcpu")
    for n in (1, 2, 4, 8, 16, 32)
]
DISKS = ["pd-standard", "pd-balanced", "pd-ssd", "pd-extreme", "hyperdisk-balanced"]
IMAGES = {
    "debian-cloud": ["debian-11", "debian-12", "debian-13"],
    "cos-cloud": ["cos-stable"],
    "ubuntu-os-cloud": ["ubuntu-2204-lts", "ubuntu-2404-lts-amd64"],
}
URL = "https://www.googleapis.com/compute/v1/"
REF = re.compile(
    r"(https?://[^/]+/compute/(?:v1|beta)/)?(?:(projects/[^/]+)/)?"
    r"((?:global|(?:regions|zones)/[a-z0-9-]+)(?:/[A-Za-z]+/[\w.%/-]+)?)(?:\?uniqueId=\d+)?"
)
FREE_TEXT = {"description", "metadata", "labels", "userLabels", "annotations", "params", "selfLink"}


def seed(cloud):
    def add(path, schema=None, **spec):
        spec = {
            "name": path.rsplit("/", 1)[-1],
            "selfLink": URL + path,
            "id": str(random.randrange(10**18)),
            **spec,
        }
        cloud.resources[f"compute/{path}"] = Resource(
            f"compute/{path}", None, spec, schema, seeded=True
        )

    home = f"projects/{cloud.project}"
    add(
        home,
        "Project",
        commonInstanceMetadata={
            "kind": "compute#metadata",
            "fingerprint": "AAAAAAAAAAA=",
            "items": [],
        },
        defaultNetworkTier="PREMIUM",
        defaultServiceAccount=f"{cloud.number}-compute@developer.gserviceaccount.com",
    )
    for region, letters in REGIONS.items():
        zones = [f"{home}/zones/{region}-{c}" for c in letters]
        add(f"{home}/regions/{region}", status="UP", zones=[URL + z for z in zones])
        for zone in zones:
            add(zone, status="UP", region=f"{URL}{home}/regions/{region}")
            for kind, names in (("machineTypes", MACHINES), ("diskTypes", DISKS)):
                for name in names:
                    add(
                        f"{zone}/{kind}/{name}",
                        zone=URL + zone if kind == "diskTypes" else zone.rsplit("/", 1)[-1],
                    )
    for project, families in IMAGES.items():
        for name in families:
            add(
                f"projects/{project}/global/images/{name}-v20260101",
                family=name,
                status="READY",
                diskSizeGb="10",
                sourceType="RAW",
                archiveSizeBytes="1000",
                creationTimestamp="2026-01-01T00:00:00.000Z",
                architecture="X86_64",
            )


# ---------------------------------------------------------------------- references
def reference(text, project):
    """projects/p/global/networks/n when `text` is a full or partial URL of a compute resource, else ''."""
    hit = REF.fullmatch(text or "")
    return (
        f"{hit[2] or f'projects/{project}'}/{hit[3]}"
        if hit and hit[3] != "global" and (hit[1] or hit[2] or "/" in hit[3])
        else ""
    )


def find(cloud, text):
    return cloud.find(f"compute/{reference(text, cloud.project)}")


def strings(node, where="resource"):
    items = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for k, v in items:
        if k not in FREE_TEXT:
            yield from strings(v, f"{where}.{k}" if isinstance(node, dict) else f"{where}[{k}]")
    if isinstance(node, str):
        yield where, node


def family(cloud, project, name):
    found = [
        r
        for r in cloud.children(f"compute/projects/{project}/global/images")
        if r.spec.get("family") == name and not r.spec.get("deprecated", {}).get("state")
    ]
    return max(found, key=lambda r: merge(r.server, r.spec)["creationTimestamp"], default=None)


def exists(cloud, path):
    hit = re.fullmatch(r"projects/([^/]+)/global/images/family/(.+)", path)
    return (
        family(cloud, *hit.groups())
        if hit
        else cloud.find(f"compute/{path}")
        or re.search("/licenses/|/gateways/default-internet-gateway", path)
    )


def check_references(cloud, res):
    """Refuse compute URLs and //other.googleapis.com/ names that do not exist; store compute URLs in full."""
    if res.api != "compute":
        return
    place = re.search(r"/(region|zone)s/([^/]+)", res.path) or ("", "zone", "us-central1-a")
    name = place[2] if place[1] == "zone" else f"{place[2]}-{REGIONS[place[2]][0]}"
    zone = f"compute/projects/{cloud.project}/zones/{name}"
    for where, text in strings(res.spec):
        if where in (
            "resource.region",
            "resource.zone",
        ):  # the provider sends projects/P/global/regions/R, which Google ignores
            continue
        path, other = (
            reference(text, cloud.project),
            re.match(r"//(\w+)\.googleapis\.com/(.+)", text),
        )
        kind = {"machineType": "machineTypes", "diskType": "diskTypes"}.get(
            where.rsplit(".", 1)[-1]
        )
        if (path and not exists(cloud, path)) or (
            other and "/".join(other.groups()) not in cloud.resources
        ):
            raise Refused(
                400,
                f"Invalid value for field '{where}': '{text}'. "
                f"The resource '{path or other[2]}' was not found",
            )
        if kind and not path and f"{zone}/{kind}/{text}" not in cloud.resources:
            raise Refused(
                400,
                f"Invalid value for field '{where}': '{text}'. There is no such {kind[:-1]} in {zone}",
            )
        if re.search(
            r"\.(email|(source|target)ServiceAccounts\[\d+\])$", where
        ) and not account_exists(cloud, text):
            raise Refused(
                400,
                f"Invalid value for field '{where}': '{text}'. The service account was not found",
            )

    def full(node):
        if isinstance(node, dict):
            return {k: v if k in FREE_TEXT else full(v) for k, v in node.items()}
        if isinstance(node, list):
            return [full(v) for v in node]
        path = reference(node, cloud.project) if isinstance(node, str) else ""
        held = cloud.find(f"compute/{path}") if path else None  # a numeric id gives way to the name
        return URL + (held.path if held else path) if path else node

    res.spec = {
        k: v
        for k, v in full(res.spec).items()
        if k not in ("region", "zone", "selfLink", "id", "kind", "fingerprint", "labelFingerprint")
    }


def check_rules(cloud, res):
    """Rules of Compute Engine's own that a wrong stack breaks."""
    spec = res.spec
    if res.api == "compute" and res.collection == "instanceGroupManagers" and spec.get("versions"):
        spec.pop("instanceTemplate", None)
    if res.api == "compute" and res.collection == "subnetworks":
        mine = ipaddress.ip_network(spec["ipCidrRange"])
        for other in cloud.resources.values():
            if (
                other.collection == "subnetworks"
                and other.key != res.key
                and other.spec["network"] == spec["network"]
                and mine.overlaps(ipaddress.ip_network(other.spec["ipCidrRange"]))
            ):
                raise Refused(
                    400,
                    f"Invalid IPCidrRange: {mine} conflicts with existing subnetwork '{other.name}'.",
                )
    if res.api == "compute" and res.collection == "forwardingRules":
        scheme, region = spec.get("loadBalancingScheme", "EXTERNAL"), res.path.rsplit("/", 2)[0]
        if (
            scheme.endswith("_MANAGED")
            and "/regions/" in region
            and not any(
                r.spec.get("purpose") == "REGIONAL_MANAGED_PROXY"
                and r.spec["network"] == spec.get("network", r.spec["network"])
                for r in cloud.children(f"compute/{region}/subnetworks")
            )
        ):
            raise Refused(
                400,
                "An active proxy-only subnetwork is required in the region and VPC of the forwarding rule.",
            )
        for step in ("target", "urlMap", "defaultService"):
            res = find(cloud, res.spec.get(step)) if res else None
        if (
            res
            and res.collection == "backendServices"
            and res.spec.get("loadBalancingScheme", "EXTERNAL") != scheme
        ):
            raise Refused(
                400,
                f"Invalid value for field 'resource.target': backend service '{res.path}' "
                f"does not have load balancing scheme {scheme}.",
            )


# Bounds that Google documents and its API enforces: collection, regional or not, path, lowest, highest.
BOUNDS = [
    ("targetHttpsProxies", True, "httpKeepAliveTimeoutSec", 5, 600),
    ("targetHttpsProxies", False, "httpKeepAliveTimeoutSec", 5, 1200),
    ("targetHttpProxies", True, "httpKeepAliveTimeoutSec", 5, 600),
    ("targetHttpProxies", False, "httpKeepAliveTimeoutSec", 5, 1200),
    *((c, None, f, 1, 300) for c in ("healthChecks",) for f in ("checkIntervalSec", "timeoutSec")),
    *(("healthChecks", None, f, 1, 10) for f in ("healthyThreshold", "unhealthyThreshold")),
    ("backendServices", None, "timeoutSec", 1, 2_147_483_647),
    ("backendServices", None, "connectionDraining.drainingTimeoutSec", 0, 3600),
    ("backendServices", None, "logConfig.sampleRate", 0, 1),
    *(
        ("backendServices", None, f"outlierDetection.{f}", 0, 100)
        for f in (
            "enforcingConsecutiveErrors",
            "enforcingConsecutiveGatewayFailure",
            "enforcingSuccessRate",
            "maxEjectionPercent",
        )
    ),
    *(
        ("autoscalers", None, f"autoscalingPolicy.{f}", lo, hi)
        for f, lo, hi in (
            ("coolDownPeriodSec", 0, 3600),
            ("stabilizationPeriodSec", 0, 3600),
            ("cpuUtilization.utilizationTarget", 0.0001, 1),
        )
    ),
    ("instanceGroupManagers", None, "autoHealingPolicies.0.initialDelaySec", 0, 3600),
    ("subnetworks", None, "logConfig.flowSampling", 0, 1),
]


def deep(node, path):
    for part in path.split("."):
        node = (
            node[int(part)]
            if isinstance(node, list) and len(node) > int(part)
            else node.get(part)
            if isinstance(node, dict)
            else None
        )
    return node


def check_bounds(cloud, res):
    for collection, regional, path, low, high in BOUNDS:
        if (
            res.api == "compute"
            and res.collection == collection
            and regional in (None, "/regions/" in res.path)
        ):
            value = deep(res.spec, path)
            if value is not None and not low <= float(value) <= high:
                raise Refused(
                    400,
                    f"Invalid value for field 'resource.{path}': '{value}'. "
                    f"Must be between {low} and {high}.",
                )
    if (
        res.api == "compute"
        and res.collection == "healthChecks"
        and res.spec.get("timeoutSec", 5) > res.spec.get("checkIntervalSec", 5)
    ):
        raise Refused(
            400, "Invalid value for field 'resource.timeoutSec': must not exceed checkIntervalSec."
        )
    if res.api == "compute" and res.collection == "routers":
        for nat in res.spec.get("nats", []):
            if nat.get("natIpAllocateOption") == "AUTO_ONLY" and nat.get("natIps"):
                raise Refused(
                    400,
                    "Invalid value for field 'resource.nats[0].natIps': natIps must be empty with AUTO_ONLY.",
                )


def check_use(cloud, res, gone):
    """What another resource still names cannot be deleted (an image can)."""
    paths, ips = (
        {k.split("/", 1)[1] for k in gone},
        {cloud.resources[k].server.get("address") for k in gone},
    )
    named = res.api == "compute" and res.collection not in ("images", "snapshots")
    for other in (r for r in cloud.resources.values() if r.key not in gone and not r.seeded):
        for _, text in strings(other.spec):
            if text == f"//{res.api}.googleapis.com/{res.path}" or (
                other.api == "compute"
                and named
                and (reference(text, cloud.project) in paths or text in ips)
            ):
                raise Refused(
                    400,
                    f"The {res.collection} resource '{res.path}' is already being used by '{other.path}'",
                    "resourceInUseByAnotherResource",
                )


WRITERS.extend([check_references, check_rules, check_bounds])
DELETERS.append(check_use)


# ---------------------------------------------------------------------- what Compute Engine fills in
def address(cloud, subnetwork=None, internal=False):
    cloud.addresses += 1
    subnet = find(cloud, subnetwork)
    if internal or subnet:
        return str(
            ipaddress.ip_network(subnet.spec["ipCidrRange"] if subnet else "10.128.0.0/20")[
                9 + cloud.addresses % 200
            ]
        )
    return f"198.51.{100 + cloud.addresses // 250}.{cloud.addresses % 250 + 1}"


@view("compute/subnetworks")
def _(cloud, res, v):
    v["gatewayAddress"] = str(ipaddress.ip_network(v["ipCidrRange"])[1])
    v.update({"state": "READY"} if v["purpose"].endswith("MANAGED_PROXY") else {})


@view("compute/addresses")
def _(cloud, res, v):
    internal = v["addressType"] == "INTERNAL"
    fill(
        v,
        {
            "address": res.once(
                "address", lambda: address(cloud, res.spec.get("subnetwork"), internal)
            )
        },
    )
    fill(v, {} if internal else {"networkTier": "PREMIUM"})
    users = [
        r.server["selfLink"]
        for r in cloud.resources.values()
        if r.api == "compute" and r.spec.get("IPAddress") in (v["selfLink"], v["address"])
    ]
    v.update({"status": "IN_USE", "users": users} if users else {})


@view("compute/forwardingRules")
def _(cloud, res, v):
    reserved, internal = (
        find(cloud, v.get("IPAddress")),
        v["loadBalancingScheme"].startswith("INTERNAL"),
    )
    if reserved:
        v["IPAddress"] = cloud.view(reserved)["address"]
    fill(v, {"IPAddress": res.once("_ip", lambda: address(cloud, v.get("subnetwork"), internal))})
    v.update(
        {"portRange": f"{v['portRange']}-{v['portRange']}"}
        if v.get("portRange", "-").isdigit()
        else {}
    )


@view("compute/backendServices")
def _(cloud, res, v):
    for backend in v.get("backends", []) if v["loadBalancingScheme"] != "INTERNAL" else ():
        fill(backend, {"capacityScaler": 1})
    if secret := v.get("iap", {}).pop("oauth2ClientSecret", None):
        v["iap"]["oauth2ClientSecretSha256"] = hashlib.sha256(secret.encode()).hexdigest()


@view("compute/targetHttpsProxies")
def _(
    cloud, res, v
):  # Compute shows Certificate Manager's certificates as //certificatemanager.googleapis.com/projects/...
    if v.get("sslCertificates"):
        v["sslCertificates"] = [
            re.sub(r"^https://(certificatemanager\.googleapis\.com)/v1/", r"//\1/", c)
            for c in v["sslCertificates"]
        ]


@view("compute/sslCertificates")
def _(cloud, res, v):
    v.pop("privateKey", None)
    if v.get("managed"):
        fill(
            v,
            {
                "subjectAlternativeNames": v["managed"]["domains"],
                "managed": {"domainStatus": dict.fromkeys(v["managed"]["domains"], "ACTIVE")},
            },
        )


@view("compute/disks")
def _(cloud, res, v):
    if hit := re.fullmatch(
        rf"{URL}projects/([^/]+)/global/images/family/(.+)", v.get("sourceImage", "")
    ):
        v["sourceImage"] = URL + family(cloud, *hit.groups()).path


@view("compute/securityPolicies")
def _(cloud, res, v):
    if not any(r.get("priority") == 2147483647 for r in v.setdefault("rules", [])):
        v["rules"].append(
            {
                "priority": 2147483647,
                "action": "allow",
                "description": "default rule",
                "kind": "compute#securityPolicyRule",
                "preview": False,
                "match": {"versionedExpr": "SRC_IPS_V1", "config": {"srcIpRanges": ["*"]}},
            }
        )


@view("compute/instanceTemplates")
def machine(cloud, res, v):
    props = v.get("properties", v)
    for i, nic in enumerate(props.get("networkInterfaces", [])):
        subnet = find(cloud, nic.get("subnetwork"))
        fill(nic, {"name": f"nic{i}", **({"network": subnet.spec["network"]} if subnet else {})})
    for i, disk in enumerate(props.get("disks", [])):
        fill(disk, {"index": i, "boot": i == 0, "deviceName": f"persistent-disk-{i}"})
    for name in ("metadata", "tags"):
        props.get(name, {}).setdefault("fingerprint", res.once(f"_{name}", token))


@view("compute/instances")
def _(cloud, res, v):
    fill(v, DEFAULTS["compute/instanceTemplates"]["properties"])
    machine(cloud, res, v)
    for i, nic in enumerate(v.get("networkInterfaces", [])):
        fill(
            nic,
            {
                "networkIP": res.once(
                    f"_ip{i}", functools.partial(address, cloud, nic.get("subnetwork"), True)
                ),
                "fingerprint": res.once(f"_nic{i}", token),
            },
        )
        for access in nic.get("accessConfigs", []):
            fill(access, {"natIP": res.once(f"_nat{i}", lambda: address(cloud))})


def boot_disk(cloud, res):
    """An instance makes the disks it describes; they go with it."""
    zone = res.path.rsplit("/instances/", 1)[0]
    for disk in (
        res.spec.get("disks", []) if (res.api, res.collection) == ("compute", "instances") else ()
    ):
        if not disk.get("source"):
            wanted = disk.pop("initializeParams", {})
            name = wanted.get("diskName") or res.name
            disk["source"] = f"{URL}{zone}/disks/{name}"
            spec = {
                "name": name,
                "sizeGb": wanted.get("diskSizeGb", "10"),
                "sourceImage": wanted.get("sourceImage"),
                "labels": wanted.get("labels"),
                "type": f"{URL}{zone}/diskTypes/{wanted.get('diskType', 'pd-standard').rsplit('/', 1)[-1]}",
            }
            cloud.put(
                f"compute/{zone}/disks/{name}", res.method, merge({}, spec), "Disk", owner=res.key
            )


# ---------------------------------------------------------------------- managed instance groups
def owned(cloud, group):
    return [
        r
        for r in cloud.resources.values()
        if group and r.owner == group.key and r.collection == "instances"
    ]


def wanted_template(spec):
    return (spec.get("versions") or [{}])[0].get("instanceTemplate") or spec.get("instanceTemplate")


def zones_of(cloud, res):
    chosen = [z["zone"] for z in res.spec.get("distributionPolicy", {}).get("zones", [])]
    region = re.search(r"/regions/([^/]+)", res.path)
    return chosen or (
        [f"{URL}projects/{cloud.project}/zones/{region[1]}-{c}" for c in REGIONS[region[1]][:3]]
        if region
        else [URL + res.path.rsplit("/", 2)[0]]
    )


def sync(cloud, res, replace=()):
    """Makes a group's instances what its manager asks for."""
    if (res.api, res.collection) != ("compute", "instanceGroupManagers"):
        return
    spec, url, zones = res.spec, wanted_template(res.spec), zones_of(cloud, res)
    template, size = find(cloud, url), int(res.spec.get("targetSize", 0))
    proactive = spec.get("updatePolicy", {}).get("type") == "PROACTIVE"
    for i, r in enumerate(owned(cloud, res)):
        if (
            i >= size
            or (proactive and r.server["_template"] != url)
            or r.server["selfLink"] in replace
        ):
            cloud.delete(r)
    for i in range(len(owned(cloud, res)), size):
        zone, name = (
            zones[i % len(zones)].removeprefix(URL),
            f"{spec.get('baseInstanceName') or res.name}-{slug()}",
        )
        props, extra = (
            template.spec["properties"],
            spec.get("allInstancesConfig", {}).get("properties", {}),
        )
        items = props.get("metadata", {}).get("items", []) + [
            {"key": k, "value": v} for k, v in extra.get("metadata", {}).items()
        ]
        cloud.put(
            f"compute/{zone}/instances/{name}",
            res.method,
            merge(
                props,
                {
                    "name": name,
                    "machineType": f"{URL}{zone}/machineTypes/{props['machineType'].rsplit('/', 1)[-1]}",
                    "metadata": {"items": items},
                    "labels": extra.get("labels", {}),
                },
            ),
            "Instance",
            owner=res.key,
            server={"_template": url},
        )
    group = f"compute/{res.path.rsplit('/', 2)[0]}/instanceGroups/{res.name}"
    if group not in cloud.resources:
        cloud.put(group, res.method, {"name": res.name}, "InstanceGroup", owner=res.key)


def scale(cloud, res):
    if (res.api, res.collection) == ("compute", "autoscalers"):
        manager, policy = find(cloud, res.spec["target"]), res.spec.get("autoscalingPolicy", {})
        low, high = policy.get("minNumReplicas", 1), policy.get("maxNumReplicas", 1)
        if low > high:
            raise Refused(400, "minNumReplicas must not exceed maxNumReplicas")
        manager.spec["targetSize"] = min(max(int(manager.spec.get("targetSize", 0)), low), high)
        sync(cloud, manager)


AFTER.extend([boot_disk, sync, scale])


@view("compute/instanceGroupManagers")
def _(cloud, res, v):
    members, url, regional = owned(cloud, res), wanted_template(v), "/regions/" in res.path
    scaler = [
        r.server["selfLink"]
        for r in cloud.resources.values()
        if r.collection == "autoscalers" and r.spec.get("target") == v["selfLink"]
    ]
    fill(
        v,
        {
            "instanceGroup": f"{URL}{res.path.rsplit('/', 2)[0]}/instanceGroups/{res.name}",
            "baseInstanceName": res.name,
            "versions": [{"instanceTemplate": url}],
            "versions[]": {"targetSize": {"calculated": v["targetSize"]}},
            **(
                {
                    "distributionPolicy": {
                        "targetShape": "EVEN",
                        "zones": [{"zone": z} for z in zones_of(cloud, res)],
                    }
                }
                if regional
                else {}
            ),
        },
    )
    if not v.get("resourcePolicies"):
        v.pop("resourcePolicies", None)
    actions = [
        "creating",
        "creatingWithoutRetries",
        "deleting",
        "recreating",
        "refreshing",
        "restarting",
        "verifying",
        "abandoning",
    ]
    v.update(
        instanceTemplate=url,
        currentActions={**dict.fromkeys(actions, 0), "none": len(members)},
        status={
            "isStable": True,
            "versionTarget": {"isReached": all(m.server["_template"] == url for m in members)},
            "allInstancesConfig": {"effective": True},
            "stateful": {"hasStatefulConfig": False, "perInstanceConfigs": {"allEffective": True}},
            **({"autoscaler": scaler[0]} if scaler else {}),
        },
    )


@view("compute/instanceGroups")
def _(cloud, res, v):
    if manager := cloud.resources.get(res.owner):
        v.update(size=len(owned(cloud, manager)), namedPorts=manager.spec.get("namedPorts", []))


@on("compute.*nstanceGroupManagers.listManagedInstances")
def _(cloud, call):
    group = cloud.need(call.key)
    health = [
        {"healthCheck": p["healthCheck"], "detailedHealthState": "HEALTHY"}
        for p in group.spec.get("autoHealingPolicies", [])
        if p.get("healthCheck")
    ]
    return cloud.listing(
        call,
        [
            {
                "instance": r.server["selfLink"],
                "name": r.name,
                "id": r.server["id"],
                "instanceStatus": "RUNNING",
                "currentAction": "NONE",
                "version": {"instanceTemplate": r.server["_template"]},
                "instanceHealth": health,
            }
            for r in owned(cloud, group)
        ],
    )


@on("compute.*nstanceGroups.listInstances")
def _(cloud, call):
    manager = cloud.resources.get(cloud.need(call.key).owner)
    return cloud.listing(
        call,
        [{"instance": r.server["selfLink"], "status": "RUNNING"} for r in owned(cloud, manager)],
    )


@on("compute.*nstanceGroups.setNamedPorts")
def _(cloud, call):
    group, body = cloud.need(call.key), dict(call.body or {})
    cloud.guard(group, body)
    cloud.resources.get(group.owner, group).spec["namedPorts"] = body.get("namedPorts", [])
    cloud.touch(group)
    return cloud.compute_operation(call, group)


@on("compute.*ackendServices.getHealth")
def _(cloud, call):
    cloud.need(call.key)
    group = cloud.need("compute/" + reference(call.body.get("group"), cloud.project))
    return {
        "kind": "compute#backendServiceGroupHealth",
        "healthStatus": [
            {"instance": r.server["selfLink"], "healthState": "HEALTHY"}
            for r in owned(cloud, cloud.resources.get(group.owner))
        ],
    }


@on("compute.*nstanceGroupManagers.resize", "compute.*nstanceGroupManagers.*Instances")
def _(cloud, call):
    """resize, recreateInstances, applyUpdatesToInstances, deleteInstances"""
    group, body = cloud.need(call.key), call.body or {}
    chosen = [URL + reference(i, cloud.project) for i in body.get("instances", [])]
    size = int(group.spec.get("targetSize", 0)) - (
        len(chosen) if call.method.name == "deleteInstances" else 0
    )
    group.spec["targetSize"] = int(call.arg("size", size))
    sync(
        cloud,
        group,
        [r.server["selfLink"] for r in owned(cloud, group)] if body.get("allInstances") else chosen,
    )
    return cloud.compute_operation(call, group)


# ---------------------------------------------------------------------- methods of their own
@on("compute.*.aggregatedList")
def _(cloud, call):
    kind, scopes = call.key.rsplit("/", 1)[-1], {}
    for res in cloud.resources.values():
        if hit := re.fullmatch(
            rf"compute/projects/{cloud.project}/(global|regions/[^/]+|zones/[^/]+)/{kind}/[^/]+",
            res.key,
        ):
            scopes.setdefault(hit[1], {kind: []})[kind].append(cloud.view(res))
    return {"items": scopes}


@on("compute.images.getFromFamily")
def _(cloud, call):
    found = family(cloud, call.args["project"], call.args["family"])
    return cloud.view(found or cloud.need(call.key))


@on("compute.*isks.createSnapshot")
def _(cloud, call):
    disk, name = cloud.need(call.key), call.body["name"]
    return cloud.compute_operation(
        call,
        cloud.put(
            f"compute/projects/{cloud.project}/global/snapshots/{name}",
            call.method,
            {**merge({}, call.body), "sourceDisk": disk.server["selfLink"]},
            "Snapshot",
        ),
    )


@on("compute.*olicies.*Rule", "compute.*olicies.*Association")
def _(cloud, call):
    """add, get, patch and remove of a security or firewall policy's rules and associations"""
    policy, (verb, part) = (
        cloud.need(call.key),
        re.fullmatch(r"(add|get|patch|remove)(\w+)", call.method.name).groups(),
    )
    members, by = ("rules", "priority") if part == "Rule" else ("associations", "name")
    body = merge({}, call.body or {})
    held, key = (
        {str(m[by]): m for m in cloud.view(policy).get(members, [])},
        str(call.arg(by, body.get(by))),
    )
    if (key in held) == (verb == "add"):
        raise Refused(400, f"Invalid value for field '{by}': '{key}'")
    if verb == "get":
        return held[key]
    kind = {"kind": f"compute#{policy.collection[:-3]}yRule"} if part == "Rule" else {}
    held[key] = None if verb == "remove" else merge(held.get(key, {}), {**kind, **body})
    cloud.replace(policy, {**policy.spec, members: [m for m in held.values() if m]})
    return cloud.compute_operation(call, policy)


@on("compute.*")
def _(cloud, call):
    """setLabels, setUrlMap, start, deprecate ...: put the body where the schema has room for it."""
    m = call.method
    if not m.tail or m.http == "GET":
        return cloud.generic(call)
    res = cloud.need(call.key)
    props, spec = m.api.properties(res.schema), dict(res.spec)
    body = {
        **{
            k: v[0] == "true"
            for k, v in call.query.items()
            if props.get(k, {}).get("type") == "boolean"
        },
        **(call.body or {}),
    }
    cloud.guard(res, body)
    target = re.sub(r"^(set|update)(.)", lambda hit: hit[2].lower(), m.name)
    known = {k: v for k, v in body.items() if k in props}
    if m.request and props.get(target, {}).get("$ref") == m.request:
        spec[target] = body
    elif m.name in ("deprecate", "setServiceAccount"):
        spec.update({"deprecated": body} if m.name == "deprecate" else {"serviceAccounts": [body]})
    elif m.name in ("start", "stop", "suspend", "resume", "reset"):
        spec["status"] = {"stop": "TERMINATED", "suspend": "SUSPENDED"}.get(m.name, "RUNNING")
    elif (
        known
        and m.name.startswith(("add", "remove"))
        and all(isinstance(v, list) for v in known.values())
    ):
        for k, v in known.items():
            named = {reference(x, cloud.project) or x for x in v}
            kept = [x for x in spec.get(k, []) if (reference(x, cloud.project) or x) not in named]
            spec[k] = kept + (v if m.name.startswith("add") else [])
    elif known and m.name.startswith(("set", "update", "expand", "switch")):
        spec.pop("versions" if m.name == "setInstanceTemplate" else "", None)
        spec.update(known)
    else:
        call.notes.append("accepted without effect")
    cloud.replace(res, merge({}, spec))
    return cloud.compute_operation(call, res)
