"""Train, publish, release, boot three VMs, predict through both doors, refuse, kill a VM, end.

Exit code 0 only if every promise it printed held. The fleet is the demo's own: one that `make up`
left running is not touched.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from skfleet.errors import SkfleetError
from skfleet_local.accounts import ACCOUNTS
from skfleet_local.cloud.tokens import Tokens
from skfleet_local.demo.calls import Doors, refusals
from skfleet_local.demo.fleet import Fleet, serves
from skfleet_local.demo.heal import kill_and_watch
from skfleet_local.demo.report import Report
from skfleet_local.run import Run, repository
from skfleet_operator.client.predict import Client

VMS = 3
MODEL = "flight-delay"
HELD_OUT = 1000
TOLERANCE = 1e-9  # of a probability: the linear form against scikit-learn


def main() -> int:
    """Run the phases; always end the fleet."""
    root = Path(os.environ.get("SKFLEET_DEMO_DIR", repository() / ".skfleet" / "demo"))
    report = Report(phases=8)
    fleet = Fleet(Run(root.resolve()), repository(), report)
    report.say(f"skfleet demo: a whole fleet on this machine, in {root}")
    try:
        fleet.command("skfleet-local", "down", show=False)
        run(fleet, report)
    except SkfleetError as error:
        report.promise("the demo runs to its end", False, error)
    except KeyboardInterrupt:
        report.promise("the demo runs to its end", False, "interrupted")
    finally:
        with report.phase("End the fleet"):
            fleet.command("skfleet-local", "down")
            report.promise("nothing of it is left", not root.exists(), root)
    return report.close()


def run(fleet: Fleet, report: Report) -> None:
    """All phases but the last."""
    with report.phase("Google Cloud on this machine, and three VMs from metadata alone"):
        fleet.command("skfleet-local", "up", "--vms", str(VMS), stream=True)
        vms = fleet.status()
        report.promise(
            "every VM is live and none is ready: there is no desired release yet",
            len(vms) == VMS and all(vm["livez"] == "200" and vm["readyz"] != "200" for vm in vms),
            vms[0]["why_not_ready"] if vms else "no VMs",
        )

    artefact = fleet.run.root / "model"
    with report.phase("Train on the flights of 2013, publish the model"):
        trained = json.loads(
            fleet.command("skfleet", "model", "train", MODEL, "--output", str(artefact), "--json")
        )
        metrics = trained["metrics"]
        report.promise(
            "the model ranks better than the baseline",
            metrics["roc_auc"] > metrics["baseline"]["roc_auc"] + 0.1,
            f"ROC AUC {metrics['roc_auc']:.3f} against {metrics['baseline']['roc_auc']:.3f}",
        )
        fleet.command("skfleet", "model", "publish", str(artefact))

    with report.phase("Build the app, create the release, desire it"):
        fleet.command("skfleet", "app", "publish")
        release = fleet.command("skfleet", "release", "create", "--model", MODEL)
        fleet.command("skfleet", "release", "desire", release)

    with report.phase("The VMs converge by themselves"):
        report.promise(
            f"every VM becomes ready on release {release}",
            fleet.wait(
                "all ready",
                lambda vms: len(vms) == VMS and all(serves(vm, release) for vm in vms),
                seconds=120,
            ),
        )

    rows, labels, probabilities = held_out(artefact)
    with report.phase("Predictions over HTTPS"):
        predict(fleet, report, rows, labels, probabilities)

    tokens = Tokens.load(fleet.run)
    doors = Doors.from_environment(fleet.environment)
    with report.phase("Callers who must be refused"):
        address = fleet.status()[0]["address"]
        for who, answer in refusals(doors, tokens, address, rows[0]):
            refused = answer.status in (401, 403, 404)
            body = answer.body if isinstance(answer.body, dict) else {"error": str(answer.body)}
            report.promise(f"refused: {who}", refused, f"{answer.status} {body.get('error', '')}")

    with report.phase("A VM is killed"):
        client = Client(
            doors.outside, tokens.id_token(ACCOUNTS["user"], doors.iap_audience), doors.ca_file
        )
        kill_and_watch(fleet, report, client, MODEL, rows, labels, release)


def held_out(
    artefact: Path,
) -> tuple[list[list[float]], list[int], list[list[float]]]:
    """1,000 held-out flights, half of each predicted class, with scikit-learn's own answers."""
    import skops.io

    from skfleet.backends.sklearn import TRUSTED_TYPES
    from skfleet_operator.examples import flight_delay

    estimator: Any = skops.io.load(artefact / "model.skops", trusted=list(TRUSTED_TYPES))
    _, flights = flight_delay.split(flight_delay.load_flights())
    predicted = estimator.predict(flights.rows)
    rows = flight_delay.balanced_sample(flights.rows, predicted, HELD_OUT, seed=42)
    return (
        rows.astype(int).tolist(),
        estimator.predict(rows).tolist(),
        estimator.predict_proba(rows).tolist(),
    )


def predict(
    fleet: Fleet,
    report: Report,
    rows: list[list[float]],
    labels: list[int],
    probabilities: list[list[float]],
) -> None:
    """The user's command through both doors, then every held-out flight."""
    text = json.dumps(rows[0])
    original = json.loads(fleet.command("skfleet", "predict", "--iap", "--form", text))
    report.promise(
        "HTTPS with an IAP token, the original form: right",
        original["model_prediction"] == f"[{labels[0]}]",
        original["model_prediction"],
    )
    inside = json.loads(fleet.command("skfleet", "predict", "--internal", text))
    report.promise(
        "the internal listener with an ID token: right",
        inside["predictions"] == [labels[0]],
        inside["predictions"],
    )
    environment = fleet.environment
    token = fleet.command("skfleet", "token", "--iap")
    client = Client(environment["SKFLEET_URL"], token, environment["SKFLEET_CA_FILE"])
    got_labels, got_probabilities, failed = [], [], 0
    for row in rows:
        answer = client.instances(MODEL, [row], probabilities=True)
        if answer.status != 200:
            failed += 1
            continue
        got_labels += answer.body["predictions"]
        got_probabilities += answer.body["probabilities"]
    same = got_labels == labels
    worst = (
        float(np.abs(np.asarray(got_probabilities) - np.asarray(probabilities)).max())
        if len(got_probabilities) == len(probabilities)
        else float("inf")
    )
    report.promise(
        f"{len(rows)} held-out flights, half of each class, answer as scikit-learn does",
        same and failed == 0 and sum(labels) == len(rows) // 2 and worst <= TOLERANCE,
        f"{failed} failed, labels {'equal' if same else 'differ'}, "
        f"probabilities within {worst:.1e}",
    )


if __name__ == "__main__":
    sys.exit(main())
