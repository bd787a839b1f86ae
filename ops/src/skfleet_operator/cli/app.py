"""`skfleet app`: build and publish the app."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from skfleet_operator.builds.image import fallback_for, prepare
from skfleet_operator.builds.publish import list_builds, publish_build
from skfleet_operator.builds.wheelhouse import EXTRAS, PINS
from skfleet_operator.builds.wheelhouse import build as build_wheelhouse
from skfleet_operator.cli.context import (
    Operator,
    bucket_option,
    json_option,
    print_json,
    print_table,
    repo_option,
    require_bucket,
)
from skfleet_operator.releases.operations import load

_MIB = 1024 * 1024
_output = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=".skfleet/builds",
    show_default=True,
    help="Where wheelhouses are kept.",
)


@click.group()
def app() -> None:
    """Build and publish the app: every wheel a VM installs."""


_with = click.option(
    "--with",
    "extra",
    type=click.Choice(sorted(EXTRAS)),
    help="A model library that only some models need.",
)


@app.command("build")
@repo_option
@_output
@_with
def build_command(repo: Path, output: Path, extra: str | None) -> None:
    """Build the wheelhouse of this checkout; a finished one of the same tree is reused."""
    wheelhouse = build_wheelhouse(
        repo.resolve(), output.resolve(), EXTRAS[extra] if extra else PINS
    )
    size = wheelhouse.path.stat().st_size / _MIB
    click.echo(
        f"{wheelhouse.version} (Python {wheelhouse.python}, {wheelhouse.platform}, {size:.0f} MiB)"
    )
    click.echo(f"{wheelhouse.path}", err=True)


@app.command()
@repo_option
@_output
@_with
@bucket_option
@json_option
@click.pass_obj
def publish(
    operator: Operator, repo: Path, output: Path, extra: str | None, bucket: str, as_json: bool
) -> None:
    """Build if need be, and publish to builds/VERSION, create-only."""
    wheelhouse = build_wheelhouse(
        repo.resolve(), output.resolve(), EXTRAS[extra] if extra else PINS
    )
    build = publish_build(operator.store, require_bucket(bucket), wheelhouse, operator.name)
    if as_json:
        print_json(msgspec.to_builtins(build))
    else:
        click.echo(build.version)


@app.command("image")
@repo_option
@_output
@click.option(
    "--contents",
    type=click.Path(path_type=Path, file_okay=False),
    default=".skfleet/image",
    show_default=True,
    help="Directory to write; it is replaced.",
)
@click.option("--release", default="", metavar="ID", help="Release to bake into the image.")
@click.option(
    "--serve-without-bucket",
    "fallback_fleet",
    default="",
    metavar="FLEET",
    help="VMs of this fleet that boot while the bucket is away serve the baked release, to those "
    "whom the fleet admits now, and call themselves stale. Without it they wait.",
)
@click.option(
    "--bucket",
    envvar="SKFLEET_BUCKET",
    default="",
    show_envvar=True,
    help="gs://BUCKET; only a release needs it.",
)
@click.pass_obj
def image_command(
    operator: Operator,
    repo: Path,
    output: Path,
    contents: Path,
    release: str,
    fallback_fleet: str,
    bucket: str,
) -> None:
    """Collect what an image is made of; playbooks/image.yml brings it onto the host."""
    store = operator.store
    baked = load(store, require_bucket(bucket), release) if release else None
    fallback = None
    if fallback_fleet:
        if not release:
            raise click.UsageError(
                "--serve-without-bucket needs --release: there is nothing to serve."
            )
        fleet = f"{require_bucket(bucket)}/fleets/{fallback_fleet}"
        fallback = fallback_for(store, fleet, release)
    image = prepare(repo.resolve(), contents.resolve(), output.resolve(), store, baked, fallback)
    print_json(msgspec.to_builtins(image))


@app.command("list")
@bucket_option
@json_option
@click.pass_obj
def list_command(operator: Operator, bucket: str, as_json: bool) -> None:
    """Published builds, newest first."""
    builds = list_builds(operator.store, require_bucket(bucket))
    if as_json:
        print_json(msgspec.to_builtins(builds))
        return
    print_table(
        ["version", "created", "python", "platform", "MiB", "with"],
        [
            [
                b.version,
                b.created_at,
                b.python,
                b.platform,
                f"{b.size / _MIB:.0f}",
                ",".join(b.extras),
            ]
            for b in builds
        ],
    )
