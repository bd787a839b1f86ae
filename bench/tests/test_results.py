"""The figures of a run are what was measured: parsed, summed up and shown, failures included."""

from __future__ import annotations

import json

import pytest

from skfleet_bench import plot, results, run, table, wrk
from skfleet_bench.cases import CASES, Case
from skfleet_bench.contenders import CONTENDERS
from skfleet_bench.measure import Sample
from skfleet_bench.protocols import choose, protocols

PRINTED = """Running 2s test @ http://127.0.0.1:1
{"requests":1000,"duration_us":2000000,"p50":1500,"p90":3000,"p99":46900,"p999":60000,"max":70000,"connect":1,"read":2,"write":3,"status":4,"timeout":5}
"""


def sample(rps: float, errors: int = 0, pss: float | None = 100.0) -> Sample:
    return Sample(rps, 1.0, 2.0, 3.0, 4.0, errors, 50.0, pss, 0.5)


def test_wrks_line_becomes_seconds_and_milliseconds() -> None:
    load = wrk.parse(PRINTED)
    assert load.rps == 500
    assert (load.p50_ms, load.p99_ms) == (1.5, 46.9)
    assert load.errors == 15


def test_a_run_without_a_result_is_no_figure() -> None:
    with pytest.raises(ValueError, match="no result"):
        wrk.parse("unable to connect")


def test_figures_are_medians_and_errors_add_up() -> None:
    found = results.median([sample(100, 1), sample(900, 2), sample(200, 0)])
    assert (found["rps"], found["errors"]) == (200, 3)


def test_who_did_not_start_is_shown() -> None:
    samples = {("skfleet", "single-linear"): [sample(10.0)]}
    failures = {("mlserver", "single-linear"): "did not start: no uvloop"}
    rows = results.rows(samples, failures, {"skfleet": {"python": "3.11"}})
    assert [row["contender"] for row in rows] == ["skfleet", "mlserver"]
    assert rows[1]["rps"] is None
    assert "did not start" in table.markdown(rows)
    assert "did not start" in plot.svg(rows, "single-linear", "title", "note")
    fields = {"contender", "case", "rps", "p50_ms", "p90_ms", "p99_ms", "errors", "pss_mib"}
    assert fields | {"cpu_us", "ready_s", "versions"} <= set(rows[0])


def test_a_round_that_failed_is_marked_beside_the_others() -> None:
    key = ("bentoml", "single-linear")
    (row,) = results.rows({key: [sample(5.0)]}, {key: "answers 503"}, {})
    assert "a round failed" in table.markdown([row])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cases_of_one_row_are_called_single(case: Case) -> None:
    assert (case.rows == 1) == ("single" in case.name)


@pytest.mark.parametrize("server", ["skfleet", "predict", "v2", "bentoml", "mlflow"])
def test_every_server_is_asked_the_same_rows(server: str) -> None:
    rows = [[0, 1], [1, 0]]
    way = choose(protocols(server, "linear"), "text", 2)
    assert way is not None
    asked = json.loads(way.body(rows))
    numbers = json.dumps(asked).replace("[", "").replace("]", "").replace(" ", "")
    assert "0,1,1,0" in numbers


def test_answers_in_each_protocol_have_labels() -> None:
    ways = protocols("skfleet", "linear")
    assert ways["single"].labels(b'{"model_prediction":"[1]","received_data":{}}') == [1]
    assert ways["text"].labels(b'{"predictions":[0,1]}') == [0, 1]
    assert ways["binary"].labels(b'{"outputs":[{"data":[1,0]}]}') == [1, 0]
    body = ways["binary"].body([[0, 1]])
    length = int(ways["binary"].headers(body)["Inference-Header-Content-Length"])
    assert json.loads(body[:length])["inputs"][0]["parameters"]["binary_data_size"] == 16
    assert len(body) == length + 16


def test_every_contender_has_a_case() -> None:
    names = [case.name for case in CASES]
    for contender in CONTENDERS.values():
        models = ("linear", "forest", "boosting")
        assert any(run.cases_of(contender, model, names) for model in models), contender.name


def test_a_run_says_how_to_repeat_it() -> None:
    options = run.Options(["skfleet"], ["single-linear"], 1, 2.0, wrk.SCRIPT.parent)
    assert run.command(options) == "make bench ROUNDS=1 DURATION=2 ONLY=skfleet CASES=single-linear"
