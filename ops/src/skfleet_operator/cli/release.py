"""`skfleet release`: create, desire, list, show, diff."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from skfleet.documents.build import Build
from skfleet.documents.release import AppPin, ModelPin, Pin, Release, check_name
from skfleet.errors import ConfigurationError, ObjectMissing
from skfleet.settings import Settings, release_settings
from skfleet_operator.builds.publish import list_builds, publish_bundle
from skfleet_operator.cli.context import (
    SIGNING_KEY,
    Operator,
    bucket_option,
    fleet_option,
    json_option,
    print_json,
    print_table,
    repo_option,
    require_bucket,
    require_fleet,
)
from skfleet_operator.releases import capacity, operations


@click.group()
def release() -> None:
    """Create releases and look at them."""


@release.command()
@click.option(
    "--from",
    "base",
    default="",
    metavar="ID",
    help="A release to start from, or `desired`: what is not named here is as it is there.",
)
@click.option("--app", "version", default="", help="App build; default: the newest published.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME[=DIGEST]",
    help="A model; may be repeated, the first is the default. Without a digest: its latest.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting; null takes it out."
)
@click.option(
    "--bundle", default="", metavar="SHA256", help="Roles bundle; default: this checkout's."
)
@click.option(
    "--only-for",
    "fleets",
    multiple=True,
    metavar="FLEET",
    help="The only fleet that may run it; repeatable. Default: every fleet.",
)
@click.option("--id", "release_id", default="", help="Id; default: time and digest.")
@click.option("--notes", default="", help="What changes and why, for people.")
@click.option("--draft", is_flag=True, help="Check and print it; write nothing.")
@repo_option
@fleet_option
@bucket_option
@json_option
@click.pass_obj
def create(
    operator: Operator,
    base: str,
    version: str,
    models: tuple[str, ...],
    settings: tuple[str, ...],
    bundle: str,
    fleets: tuple[str, ...],
    release_id: str,
    notes: str,
    draft: bool,
    repo: Path,
    fleet: str,
    bucket: str,
    as_json: bool,
) -> None:
    """Pin an app build, models, the roles bundle and settings in one immutable document."""
    if not models and not base:
        raise ConfigurationError(
            "A release needs a model.", where="--model", hint="Name one, or start --from a release."
        )
    bucket = require_bucket(bucket)
    old = _base(operator, bucket, base, fleet) if base else None
    pins = [_model(operator, bucket, text) for text in models]
    default = old.default_model if old else pins[0].name
    named = {pin.name for pin in pins}
    pins += [pin for pin in (old.models if old else ()) if pin.name not in named]
    values = dict(old.settings if old else {}) | dict(map(operations.parse_setting, settings))
    values = {name: value for name, value in values.items() if value is not None}
    pinned = (
        operations.app_pin(_build(operator, bucket, version, pins))
        if version or old is None
        else old.app
    )
    before = (list(old.models), old.app, old.settings.get("workers")) if old else None
    if before != (pins, pinned, values.get("workers")):
        _check_memory(operator, bucket, pinned, pins, values, repo)
    made = operations.create(
        operator.store,
        bucket,
        app=pinned,
        bundle=_bundle(operator, bucket, bundle, repo) if bundle or old is None else old.bundle,
        models=pins,
        default_model=default,
        settings=values,
        by=operator.name,
        fleets=fleets or (old.fleets if old else ()),
        notes=notes,
        release_id=release_id,
        draft=draft,
    )
    if as_json:
        print_json(msgspec.to_builtins(made))
    else:
        click.echo(made.id)


def _base(operator: Operator, bucket: str, base: str, fleet: str) -> Release:
    if base == "desired":
        there = operations.read_desired(operator.store, bucket, require_fleet(fleet))
        if there is None:
            raise ObjectMissing(
                f"Fleet '{fleet}' has no desired release to start from.",
                where=operations.desired_uri(bucket, fleet),
                hint="Create the first release without --from.",
            )
        base = there[0].current.release
    return operations.load(operator.store, bucket, base)[0]


def _build(operator: Operator, bucket: str, version: str, models: list[ModelPin]) -> Build:
    """The build that is named, or the newest that runs each model by its fastest backend."""
    builds = [b for b in list_builds(operator.store, bucket) if version in ("", b.version)]
    if builds:
        wanted = operations.libraries(operator.store, models)
        build = next((b for b in builds if wanted <= set(b.extras)), builds[0])
        missing = sorted(wanted - set(build.extras))
        if missing:
            click.echo(
                f"Build {build.version} lacks {', '.join(missing)}, by which a model is fastest; it is "
                "served by scikit-learn. One that has it: "
                f"`skfleet app publish --with {missing[0]}`.",
                err=True,
            )
        return build
    raise ObjectMissing(
        f"No app build {version or 'at all'} is published.",
        where=f"{bucket}/builds/",
        hint="`skfleet app publish` publishes this checkout's.",
    )


def _check_memory(
    operator: Operator,
    bucket: str,
    app: AppPin,
    models: list[ModelPin],
    settings: dict[str, Any],
    repo: Path,
) -> None:
    """Refuse models that do not fit a VM; say so where this machine cannot tell."""
    limit = capacity.limit_mib(repo)
    workers = int(release_settings(settings).get("SKFLEET_WORKERS", Settings().workers))
    extras = next(
        (b.extras for b in list_builds(operator.store, bucket) if b.version == app.version), []
    )
    try:
        weight = capacity.weigh(operator.store, models, workers, extras)
    except capacity.CannotWeigh as error:
        click.echo(f"The memory is not known: {error}", err=True)
        return
    capacity.check(weight, workers, limit)
    click.echo(
        f"Memory: {weight.bytes / capacity.MIB:.0f} of {limit} MiB with {workers} workers.",
        err=True,
    )


def _bundle(operator: Operator, bucket: str, digest: str, repo: Path) -> Pin:
    if digest:
        return operator.store.read(f"{bucket}/bundles/{digest}.tar").pin()
    from skfleet_operator.builds.bundle import make_bundle

    return publish_bundle(operator.store, bucket, make_bundle(repo.resolve()))


def _model(operator: Operator, bucket: str, text: str) -> ModelPin:
    name, _, digest = text.partition("=")
    check_name(name, "model")
    if not digest:
        return operations.latest_model(operator.store, bucket, name)
    uri = f"{bucket}/models/{name}/{digest}/manifest.json"
    return ModelPin(name=name, manifest=operator.store.read(uri).pin())


@release.command()
@click.argument("release_id", metavar="ID")
@click.option("--reason", default="first release", help="For the history.")
@fleet_option
@bucket_option
@click.pass_obj
def desire(operator: Operator, release_id: str, reason: str, fleet: str, bucket: str) -> None:
    """Make ID the first desired release of a fleet; its VMs converge to it by themselves.

    A fleet that has one already moves by a rollout, VM by VM and gated.
    """
    fleet = require_fleet(fleet)
    operations.desire(
        operator.store, require_bucket(bucket), fleet, release_id, by=operator.name, reason=reason
    )
    click.echo(f"{fleet} desires {release_id}")


@release.command("list")
@fleet_option
@bucket_option
@json_option
@click.pass_obj
def list_command(operator: Operator, fleet: str, bucket: str, as_json: bool) -> None:
    """Releases, newest first; * marks the one the fleet desires."""
    bucket = require_bucket(bucket)
    releases = operations.list_releases(operator.store, bucket)
    there = operations.read_desired(operator.store, bucket, fleet) if fleet else None
    desired = there[0].current.release if there else None
    if as_json:
        print_json([{**msgspec.to_builtins(r), "desired": r.id == desired} for r in releases])
        return
    print_table(
        ["id", "created", "app", "models", "desired", "notes"],
        [
            [
                r.id,
                r.created_at,
                r.app.version,
                ",".join(f"{m.name}={m.manifest.sha256[:8]}" for m in r.models),
                "*" if r.id == desired else "",
                r.notes,
            ]
            for r in releases
        ],
    )


@release.command()
@click.argument("release_id", metavar="ID")
@bucket_option
@click.pass_obj
def sign(operator: Operator, release_id: str, bucket: str) -> None:
    """Sign ID and all that it pins with the key of SKFLEET_SIGNING_KEY, replacing another key's."""
    if operator.store.signer is None:
        raise ConfigurationError(
            "There is no key to sign with.",
            where=SIGNING_KEY,
            hint="Set it to the path of a PEM private key (docs/security.md).",
        )
    for uri in operations.sign(operator.store, require_bucket(bucket), release_id):
        click.echo(f"signed {uri}")


@release.command()
@click.argument("release_id", metavar="ID")
@bucket_option
@click.pass_obj
def verify(operator: Operator, release_id: str, bucket: str) -> None:
    """Verify the signatures of ID and all that it pins.

    The trusted public keys are the files *.pub of the directory SKFLEET_TRUSTED_KEYS, as on a VM:

    \b
      SKFLEET_TRUSTED_KEYS=packer/trusted-keys skfleet release verify ID
    """
    if not operator.store.trust.required:
        raise ConfigurationError(
            "There is no trusted key to verify with.",
            where="SKFLEET_TRUSTED_KEYS",
            hint="Set it to a directory that holds public keys *.pub (docs/security.md).",
        )
    for uri in operations.verify(operator.store, require_bucket(bucket), release_id):
        click.echo(f"verified {uri}")


@release.command()
@click.argument("release_id", metavar="ID")
@bucket_option
@click.pass_obj
def show(operator: Operator, release_id: str, bucket: str) -> None:
    """The release document."""
    found, _ = operations.load(operator.store, require_bucket(bucket), release_id)
    print_json(msgspec.to_builtins(found))


@release.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@bucket_option
@json_option
@click.pass_obj
def diff(operator: Operator, old: str, new: str, bucket: str, as_json: bool) -> None:
    """What changes from release OLD to NEW."""
    bucket = require_bucket(bucket)
    changes = operations.difference(
        operations.load(operator.store, bucket, old)[0],
        operations.load(operator.store, bucket, new)[0],
    )
    if as_json:
        print_json({field: {"old": a, "new": b} for field, (a, b) in changes.items()})
    elif changes:
        print_table(["field", old, new], [[field, a, b] for field, (a, b) in changes.items()])
    else:
        click.echo("Nothing changes.")
