"""What the other APIs do beyond create, get, list, patch and delete."""

import base64
import hashlib
import json
import random
import re
import uuid
from urllib.parse import unquote

from .cloud import AFTER, DELETERS, WRITERS, Refused, Resource, merge, now, on, token, view


def seed(cloud):
    email = f"{cloud.number}-compute@developer.gserviceaccount.com"
    for path in (
        f"cloudresourcemanager/projects/{cloud.project}",
        f"iam/projects/{cloud.project}/serviceAccounts/{email}",
    ):
        cloud.resources[path] = Resource(path, None, {"name": path.split("/", 1)[1]}, seeded=True)
    seed_debian(cloud)
    log_bucket = f"logging/projects/{cloud.project}/locations/global/buckets/_Default"
    cloud.resources[log_bucket] = Resource(
        log_bucket,
        None,
        {"name": log_bucket.split("/", 1)[1], "retentionDays": 30, "lifecycleState": "ACTIVE"},
        seeded=True,
    )
    cloud.resources["billingbudgets/billingAccounts/000000-000000-000000"] = Resource(
        "billingbudgets/billingAccounts/000000-000000-000000", None, {"name": "x"}, seeded=True
    )


# ---------------------------------------------------------------------- projects, billing, services
@on("cloudresourcemanager.projects.get")
def _(cloud, call):
    cloud.need(call.key)
    if "/v3/" in call.path:
        return {
            "name": f"projects/{cloud.number}",
            "projectId": cloud.project,
            "displayName": cloud.project,
            "state": "ACTIVE",
            "parent": "organizations/987654321",
            "createTime": "2026-01-01T00:00:00.000Z",
        }
    return {
        "projectNumber": cloud.number,
        "projectId": cloud.project,
        "name": cloud.project,
        "lifecycleState": "ACTIVE",
        "parent": {"type": "organization", "id": "987654321"},
        "createTime": "2026-01-01T00:00:00.000Z",
    }


@on("cloudbilling.projects.getBillingInfo")
def _(cloud, call):
    return {
        "name": f"projects/{cloud.project}/billingInfo",
        "projectId": cloud.project,
        "billingEnabled": True,
        "billingAccountName": "billingAccounts/000000-000000-000000",
    }


@on("serviceusage.services.*")
def _(cloud, call):
    def show(name):
        return {
            "name": f"projects/{cloud.number}/services/{name}",
            "parent": f"projects/{cloud.number}",
            "config": {"name": name},
            "state": "ENABLED" if name in cloud.services or not cloud.fresh else "DISABLED",
        }

    name, one = call.method.name, call.key.rsplit("/", 1)[-1]
    if name == "get":
        return show(one)
    if name in ("list", "batchGet"):
        return {
            "services": [
                show(n.rsplit("/", 1)[-1]) for n in call.query.get("names", sorted(cloud.services))
            ]
        }
    chosen = set(call.body.get("serviceIds", []) if name == "batchEnable" else [one])
    cloud.services = cloud.services - chosen if name == "disable" else cloud.services | chosen
    return cloud.reply(call, None)


# ---------------------------------------------------------------------- IAM
@on("iam.projects.serviceAccounts.create")
def _(cloud, call):
    account = call.body.get("accountId", "")
    if not re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", account):
        raise Refused(
            400, f"Invalid account id '{account}': 6 to 30 lowercase letters, digits and hyphens"
        )
    return cloud.view(cloud.create(call, name=f"{account}@{cloud.project}.iam.gserviceaccount.com"))


@view("iam/serviceAccounts")
def _(cloud, res, v):
    unique = res.once("uniqueId", lambda: str(random.randrange(10**20, 2 * 10**20)))
    v.update(
        name=res.path,
        email=res.name,
        projectId=cloud.project,
        oauth2ClientId=unique,
        uniqueId=unique,
    )


@on("iam.projects.serviceAccounts.patch")
def _(cloud, call):
    call.query["updateMask"] = [call.body.get("updateMask", "")]
    return cloud.view(cloud.update(call, call.body["serviceAccount"]))


@on("iam.projects.serviceAccounts.enable", "iam.projects.serviceAccounts.disable")
def _(cloud, call):
    cloud.need(call.key).spec["disabled"] = call.method.name == "disable"
    return {}


@on("iam.projects.serviceAccounts.keys.create")
def _(cloud, call):
    account, key = cloud.need(call.key.rsplit("/", 1)[0]), f"{call.key}/{uuid.uuid4().hex}"
    secret = base64.b64encode(
        json.dumps(
            {"type": "service_account", "client_email": account.name, "private_key": "fake"}
        ).encode()
    ).decode()
    res = cloud.put(
        key,
        call.method,
        {"name": key.split("/", 1)[1], "keyAlgorithm": "KEY_ALG_RSA_2048"},
        "ServiceAccountKey",
        owner=account.key,
    )
    return {**cloud.view(res), "privateKeyData": secret}


# ---------------------------------------------------------------------- resources shown by project number
@view(
    "secretmanager/secrets",
    "secretmanager/versions",
    "monitoring/dashboards",
    "monitoring/services",
    "monitoring/serviceLevelObjectives",
)
def _(cloud, res, v):
    v["name"] = re.sub(r"^projects/[^/]+", f"projects/{cloud.number}", v["name"])


# ---------------------------------------------------------------------- Secret Manager
@on("secretmanager.*.secrets.addVersion")
def _(cloud, call):
    cloud.need(call.key)
    key = f"{call.key}/versions/{len(cloud.children(call.key + '/versions')) + 1}"
    cloud.blobs[key] = call.body["payload"]
    return cloud.view(
        cloud.put(key, call.method, {"name": key.split("/", 1)[1]}, "SecretVersion", owner=call.key)
    )


@on("secretmanager.*.versions.*")
def _(cloud, call):
    name = call.method.name
    if name == "list":
        return cloud.list(call)
    held = cloud.children(call.key.rsplit("/", 1)[0])
    res = (
        max(held, key=lambda r: int(r.name))
        if call.key.endswith("/latest") and held
        else cloud.need(call.key)
    )
    state = cloud.view(res)["state"]
    if name == "access" and state != "ENABLED":
        raise Refused(
            400, f"Secret Version {res.path} is in {state} state.", status="FAILED_PRECONDITION"
        )
    if name == "access":
        return {"name": cloud.view(res)["name"], "payload": cloud.blobs[res.key]}
    if name != "get":
        res.spec["state"] = {"enable": "ENABLED", "disable": "DISABLED", "destroy": "DESTROYED"}[
            name
        ]
    return cloud.view(res)


# ---------------------------------------------------------------------- Cloud DNS
@view("dns/managedZones")
def _(cloud, res, v):
    v["nameServers"] = (
        [f"ns-cloud-a{i}.googledomains.com." for i in range(1, 5)]
        if v["visibility"] == "public"
        else ["ns-gcp-private.googledomains.com."]
    )
    if v["visibility"] != "private":
        v.pop("privateVisibilityConfig", None)


def apex(cloud, res):
    if (res.api, res.collection) == ("dns", "managedZones"):
        for kind, data in (
            ("NS", cloud.view(res)["nameServers"]),
            ("SOA", ["ns-cloud-a1.googledomains.com. admin. 1 21600 3600 259200 300"]),
        ):
            key = f"{res.key}/rrsets/{res.spec['dnsName']}/{kind}"
            cloud.resources.setdefault(
                key,
                Resource(
                    key,
                    None,
                    {"name": res.spec["dnsName"], "type": kind, "ttl": 21600, "rrdatas": data},
                    owner=res.key,
                ),
            )


def zone_in_use(cloud, res, gone):
    left = (
        [k for k in cloud.resources if k.startswith(f"{res.key}/rrsets/") and k not in gone]
        if res.collection == "managedZones"
        else []
    )
    if left:
        raise Refused(
            400,
            f"The resource named '{res.name}' cannot be deleted because it contains {left}",
            "containerNotEmpty",
        )


@on("dns.changes.create")
def _(cloud, call):
    zone = cloud.need(call.key.rsplit("/", 1)[0])
    for gone in call.body.get("deletions", []):
        res = cloud.need(f"{zone.key}/rrsets/{gone['name']}/{gone['type']}")
        if sorted(res.spec.get("rrdatas", [])) != sorted(gone.get("rrdatas", [])) or res.spec.get(
            "ttl"
        ) != gone.get("ttl"):
            raise Refused(
                412, f"Precondition not met for 'entity.change.deletions[{gone['name']}]'"
            )
        del cloud.resources[res.key]
    for new in call.body.get("additions", []):
        key = f"{zone.key}/rrsets/{new.get('name')}/{new.get('type')}"
        if not new.get("name", "").endswith(zone.spec["dnsName"]) or not (
            new.get("rrdatas") or new.get("routingPolicy")
        ):
            raise Refused(400, f"Invalid value for 'entity.change.additions[{new.get('name')}]'")
        if key in cloud.resources:
            raise Refused(
                409,
                f"The resource 'entity.change.additions[{new['name']}][{new['type']}]' already exists",
            )
        cloud.resources[key] = Resource(key, None, merge({"kind": "dns#resourceRecordSet"}, new))
    return {
        **call.body,
        "kind": "dns#change",
        "id": str(random.randrange(10**6)),
        "status": "done",
        "startTime": now(),
    }


@on("dns.changes.get")
def _(cloud, call):
    return {"kind": "dns#change", "id": call.args["changeId"], "status": "done"}


@on("dns.resourceRecordSets.list")
def _(cloud, call):
    zone = cloud.need(call.key.rsplit("/", 1)[0])
    sets = [
        r.spec for k, r in sorted(cloud.resources.items()) if k.startswith(f"{zone.key}/rrsets/")
    ]
    return cloud.listing(
        call,
        [
            s
            for s in sets
            if call.arg("name", s["name"]) == s["name"] and call.arg("type", s["type"]) == s["type"]
        ],
    )


# ---------------------------------------------------------------------- Monitoring
@on("monitoring.projects.dashboards.create")
def _(cloud, call):
    return cloud.view(
        cloud.create(call, name=call.body.get("name", uuid.uuid4().hex).rsplit("/", 1)[-1])
    )


@view("monitoring/alertPolicies")
def _(cloud, res, v):
    for i, condition in enumerate(v.get("conditions", [])):
        condition["name"] = (
            f"{res.path}/conditions/{res.once(f'_condition{i}', lambda: str(random.randrange(10**18)))}"
        )
    v["creationRecord"] = res.once(
        "_record", lambda: {"mutateTime": now(), "mutatedBy": "fake@example.com"}
    )


NAMED = re.compile(
    r"projects/[^/\"\s]+/(?:notificationChannels|uptimeCheckConfigs|services/[^/\"\s]+/serviceLevelObjectives)/[^/\"\s]+"
)


CHECK_ID = re.compile(r"check_id\s*=\s*\"([^\"]+)\"")


def named(cloud, res):
    """Channels, checks and SLOs that an alert or a budget names, in filters and queries too."""
    if res.api not in ("monitoring", "billingbudgets"):
        return set()
    text = json.dumps({k: v for k, v in res.spec.items() if k != "name"}).replace('\\"', '"')
    names = {
        n.replace(f"projects/{cloud.number}/", f"projects/{cloud.project}/")
        for n in NAMED.findall(text)
    }
    names |= {f"projects/{cloud.project}/uptimeCheckConfigs/{c}" for c in CHECK_ID.findall(text)}
    return {f"monitoring/{n}" for n in names}


def names_exist(cloud, res):
    for key in named(cloud, res) - cloud.resources.keys():
        raise Refused(404, f"'{res.path}' names '{key.split('/', 1)[1]}', which was not found")


def monitoring_in_use(cloud, res, gone):
    for other in cloud.resources.values() if res.api == "monitoring" else ():
        if other.key not in gone and res.key in named(cloud, other):
            raise Refused(
                400, f"'{res.path}' is used by '{other.path}'", status="FAILED_PRECONDITION"
            )


@on("monitoring.projects.notificationChannels.delete")
def _(cloud, call):
    """With `force` the channel leaves the policies that name it; without, one in use is refused."""
    res = cloud.need(call.key)
    if call.arg("force") == "true":
        for policy in cloud.children(f"monitoring/projects/{cloud.project}/alertPolicies"):
            held = policy.spec.get("notificationChannels", [])
            policy.spec["notificationChannels"] = [c for c in held if c != res.path]
    cloud.delete(res)
    return {}


WRITERS.append(names_exist)
AFTER.append(apex)
DELETERS.extend([zone_in_use, monitoring_in_use])


# ---------------------------------------------------------------------- IAP settings
@on("iap.getIapSettings", "iap.updateIapSettings")
def _(cloud, call):
    """Settings exist beside every backend service; without an update mask an update replaces them all."""
    hit = re.search(r"iap_web/compute(?:-([^/]+))?/services/([^/]+)$", call.key)
    if not hit:
        raise Refused(501, f"emulator does not model settings of {call.key}")
    place = f"regions/{hit[1]}" if hit[1] else "global"
    cloud.need(f"compute/projects/{cloud.project}/{place}/backendServices/{hit[2]}")
    key = f"{call.key}/iapSettings"
    held = cloud.resources.get(key)
    if call.method.name == "updateIapSettings":
        new = {k: v for k, v in merge({}, call.body or {}).items() if k != "name"}
        if call.arg("updateMask"):
            new = merge(held.spec if held else {}, new)
        cloud.resources.pop(key, None)
        if new:
            held = cloud.resources[key] = Resource(key, None, new)
        else:
            held = None
    name = re.sub(r"^iap/projects/[^/]+", f"projects/{cloud.number}", call.key)
    return {"name": name, **(held.spec if held else {})}


# ---------------------------------------------------------------------- Cloud Storage
@view("storage/b")
def _(cloud, res, v):
    place, made = v.get("location", "US").upper(), res.once("_made", now)
    v.update(
        id=res.name,
        selfLink=f"https://www.googleapis.com/storage/v1/b/{res.name}",
        projectNumber=cloud.number,
        location=place,
        locationType="region" if "-" in place else "multi-region",
        timeCreated=made,
    )
    v["softDeletePolicy"].setdefault("effectiveTime", made)
    v["iamConfiguration"]["bucketPolicyOnly"] = dict(
        v["iamConfiguration"]["uniformBucketLevelAccess"]
    )
    if v.get("retentionPolicy"):
        v["retentionPolicy"].setdefault("effectiveTime", made)


@on("storage.projects.serviceAccount.get")
def _(cloud, call):
    return {
        "kind": "storage#serviceAccount",
        "email_address": f"service-{cloud.number}@gs-project-accounts.iam.gserviceaccount.com",
    }


@on("storage.buckets.insert")
def _(cloud, call):
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", call.body.get("name", "")):
        raise Refused(400, f"Invalid bucket name: '{call.body.get('name')}'")
    return cloud.view(cloud.create(call))


@on("storage.buckets.delete")
def _(cloud, call):
    if cloud.children(cloud.need(call.key).key + "/o"):
        raise Refused(409, "The bucket you tried to delete is not empty.", "conflict", "ABORTED")
    cloud.delete(cloud.need(call.key))


@on("storage.anywhereCaches.list")
def _(cloud, call):
    return {"kind": "storage#anywhereCaches"}


CRC = []
for n in range(256):
    for _ in range(8):
        n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)
    CRC.append(n)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ CRC[(crc ^ byte) & 0xFF]
    return base64.b64encode((crc ^ 0xFFFFFFFF).to_bytes(4, "big")).decode()


def precondition(call, res):
    for name in ("Generation", "Metageneration"):
        held = res.server[name.lower()] if res else "0"
        if call.arg(f"if{name}Match", held) != held or call.arg(f"if{name}NotMatch") == held:
            raise Refused(412, "At least one of the pre-conditions you specified did not hold.")


@on("storage.objects.insert")
def _(cloud, call):
    bucket, body, data = (
        cloud.need(call.key.rsplit("/", 1)[0]),
        merge({}, call.body or {}),
        call.media,
    )
    name = call.arg("name") or body.get("name")
    if not name or data is None:
        raise Refused(400, "Required", "required")
    leaf, generation = name.replace("/", "%2F"), str(random.randrange(10**15, 9 * 10**15))
    precondition(call, cloud.resources.get(f"{call.key}/{leaf}"))
    link = f"https://www.googleapis.com/storage/v1/b/{bucket.name}/o/{leaf}"
    server = {
        "kind": "storage#object",
        "id": f"{bucket.name}/{name}/{generation}",
        "selfLink": link,
        "bucket": bucket.name,
        "name": name,
        "mediaLink": link.replace("/storage/v1", "/download/storage/v1")
        + f"?generation={generation}&alt=media",
        "generation": generation,
        "metageneration": "1",
        "size": str(len(data)),
        "md5Hash": base64.b64encode(hashlib.md5(data).digest()).decode(),
        "crc32c": crc32c(data),
        "etag": token(),
        "timeCreated": now(),
        "updated": now(),
        "storageClass": cloud.view(bucket)["storageClass"],
    }
    for claim in ("md5Hash", "crc32c"):
        if body.get(claim, server[claim]) != server[claim]:
            raise Refused(
                400, f"Provided {claim} '{body[claim]}' doesn't match calculated '{server[claim]}'."
            )
    spec = {
        "contentType": call.media_type or "application/octet-stream",
        **{k: v for k, v in body.items() if k not in server or k == "storageClass"},
    }
    res = cloud.resources[f"{call.key}/{leaf}"] = Resource(
        f"{call.key}/{leaf}", call.method, spec, "Object", server
    )
    cloud.blobs[res.key] = data
    return cloud.view(res)


@on("storage.objects.get", "storage.objects.delete")
def _(cloud, call):
    name = unquote(call.args["object"])
    res = cloud.need(
        f"storage/b/{call.args['bucket']}/o/" + name.replace("/", "%2F"),
        f"No such object: {call.args['bucket']}/{name}",
    )
    precondition(call, res)
    if call.method.name == "delete":
        return cloud.delete(res)
    return (
        (cloud.blobs[res.key], cloud.view(res)) if call.arg("alt") == "media" else cloud.view(res)
    )


@on("storage.objects.list")
def _(cloud, call):
    cloud.need(call.key.rsplit("/", 1)[0])
    return cloud.listing(
        call,
        [
            cloud.view(r)
            for r in cloud.children(call.key)
            if r.server["name"].startswith(call.arg("prefix", ""))
        ],
    )


# ---------------------------------------------------------------------- OS Login and token info (for Packer)
@on("oslogin.users.importSshPublicKey", "oslogin.users.getLoginProfile")
def _(cloud, call):
    return {
        "loginProfile": {
            "name": "1",
            "posixAccounts": [
                {
                    "primary": True,
                    "username": "sa_1",
                    "accountId": cloud.project,
                    "homeDirectory": "/home/sa_1",
                    "uid": "1",
                    "gid": "1",
                }
            ],
        }
    }


@on("oslogin.users.sshPublicKeys.*")
def _(cloud, call):
    return {}


@on("oauth2.tokeninfo")
def _(cloud, call):
    return {
        "email": f"skfleet-builder@{cloud.project}.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "verified_email": True,
    }


def seed_debian(cloud):
    for v in ("debian-12-bookworm-v20261006", "debian-13-trixie-v20260921"):
        path = f"compute/projects/debian-cloud/global/images/{v}"
        cloud.resources[path] = Resource(
            path,
            None,
            {
                "name": v,
                "selfLink": "https://www.googleapis.com/compute/v1/" + path.split("/", 1)[1],
                "id": "5",
                "status": "READY",
                "diskSizeGb": "10",
                "sourceType": "RAW",
                "architecture": "X86_64",
                "guestOsFeatures": [{"type": "UEFI_COMPATIBLE"}, {"type": "GVNIC"}],
            },
            seeded=True,
        )
