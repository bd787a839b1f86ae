"""The planner: what it asks of a fleet, and that its day is decided as a live one."""

from __future__ import annotations

import dataclasses
import heapq
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from skfleet import documents
from skfleet.errors import ConfigurationError
from skfleet_loadtest import verdict as verdicts
from skfleet_local.cli import main
from skfleet_local.compute.model import Instance, Resources
from skfleet_operator.instance_group import decisions
from skfleet_operator.instance_group.autoscaler import LOOK_S, Autoscaling
from skfleet_operator.planner import curve, day, evidence, prices, sizing
from skfleet_operator.planner.evidence import Measured
from skfleet_operator.planner.queueing import Point, Station, fit
from skfleet_operator.planner.sizing import Ask, Survive, Vm

ALONE = tuple(4 - 2 * math.log(1 - (number + 0.5) / 50) for number in range(50))  # ms
STATION = Station(servers=2, capacity=400.0, spread=1.2, alone=ALONE)
PERCENTS = (1, 10, 25, 50, 75, 90, 95, 99)
RATES = (50, 100, 150, 200, 250, 300, 350)


def point(station: Station, rate: float) -> Point:
    return Point(rate, {percent: station.percentile(rate, percent) for percent in PERCENTS})


MEASURED = Measured(
    run="made",
    vms=1,
    vcpus=2,
    points=tuple(point(STATION, rate) for rate in RATES),
    not_held=math.inf,
    cpu_s=0.004,
    idle_cores=0.02,
)
VM = Vm.of(MEASURED, STATION)


def ask(rps: float, **changes: Any) -> Ask:
    wanted = {
        "p90_ms": 40.0,
        "zones": 3,
        "survive": Survive.ZONE,
        "boot_s": 90.0,
        "noise": 0.03,
        "curve": curve.default(),
    }
    return Ask(rps=rps, **{**wanted, **changes})


def a_day(wanted: Ask, seed: int = 1, **settings: Any) -> tuple[day.Day, day.Simulation]:
    size = sizing.plan(wanted, MEASURED, VM)
    scaler = msgspec.structs.replace(size.autoscaler, **settings)
    simulation = day.Simulation(
        wanted, msgspec.structs.replace(size, autoscaler=scaler), VM, 30.0, seed
    )
    return simulation(), simulation


# The queue


def served(rate: float, seed: int, count: int = 60_000) -> Point:
    """Requests through two servers, one by one: what a formula for their queue is held against."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    free = [0.0, 0.0]
    now, took = 0.0, []
    for _ in range(count):
        now += chance.expovariate(rate)
        begins = max(now, heapq.heappop(free))
        ends = begins + chance.lognormvariate(math.log(0.004), 0.6)  # mean 4.8 ms: 417 a second
        heapq.heappush(free, ends)
        took.append(1000 * (ends - now))
    took.sort()
    return Point(rate, {p: took[math.ceil(len(took) * p / 100) - 1] for p in PERCENTS})


def test_the_queue_predicts_the_p90_of_loads_that_it_was_not_fitted_to() -> None:
    found = fit([served(rate, seed=rate) for rate in (40, 120, 200, 280, 360)], servers=2)
    for rate in (80, 160, 240, 320, 340):
        seen = served(rate, seed=1000 + rate).quantiles[90]
        assert found.percentile(rate) == pytest.approx(seen, rel=0.15), rate


def test_the_queue_is_found_again_from_its_own_figures() -> None:
    found = fit(MEASURED.points, servers=2)
    assert found.capacity == pytest.approx(STATION.capacity, rel=0.02)
    for rate in RATES:
        assert found.percentile(rate) == pytest.approx(STATION.percentile(rate), rel=0.03)


@given(st.floats(0, 399), st.floats(0, 399))
def test_more_load_is_never_faster(one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert STATION.percentile(less) <= STATION.percentile(more) * (1 + 1e-6)
    assert STATION.percentile(STATION.capacity) == math.inf


# The fleet

asks = {
    "p90_ms": st.floats(10, 200),
    "zones": st.integers(2, 4),
    "survive": st.sampled_from(Survive),
    "boot_s": st.floats(0, 600),
    "noise": st.floats(0, 0.2),
}


@settings(max_examples=60)
@given(
    # Small fleets and small steps, where a fleet that is rounded badly would shrink.
    st.one_of(st.floats(1, 4000), st.floats(4000, 20_000)),
    st.one_of(st.floats(1, 1.03), st.floats(1, 2)),
    st.fixed_dictionaries(asks),
)
def test_more_requests_never_need_fewer_vms(rps: float, times: float, how: dict[str, Any]) -> None:
    less, more = (sizing.plan(ask(load, **how), MEASURED, VM) for load in (rps, rps * times))
    assert less.vms <= more.vms
    assert less.autoscaler.min <= more.autoscaler.min


@pytest.mark.parametrize("survive", Survive)
def test_no_step_of_a_growing_load_makes_the_fleet_smaller(survive: Survive) -> None:
    loads = [1.01**number for number in range(1, 1050)]
    vms = [sizing.plan(ask(rps, p90_ms=1000, survive=survive), MEASURED, VM).vms for rps in loads]
    assert vms == sorted(vms)


@settings(max_examples=100)
@given(st.floats(1, 20_000), st.fixed_dictionaries({**asks, "survive": st.just(Survive.ZONE)}))
def test_a_lost_zone_leaves_what_carries_the_load(rps: float, how: dict[str, Any]) -> None:
    wanted = ask(rps, **how)
    size = sizing.plan(wanted, MEASURED, VM)
    # Whatever the load of the day is, by the size that the autoscaler gives it then.
    for share in (0.3, 0.5, 0.77, 1.0):
        rate = rps * share
        vms = max(math.ceil(rate / size.rate_a_vm_normally), size.autoscaler.min)
        after = sizing.left(vms, size.zones, Survive.ZONE)
        assert rate / after <= size.rate_a_vm * (1 + 1e-9)
        assert VM.station.percentile(rate / after) <= wanted.p90_ms * (1 + 1e-6)


@settings(max_examples=100)
@given(st.floats(1, 20_000), st.fixed_dictionaries(asks))
def test_the_autoscaler_comes_to_the_size_that_was_planned(rps: float, how: dict[str, Any]) -> None:
    size = sizing.plan(ask(rps, **how), MEASURED, VM)
    assume(size.vms > size.autoscaler.min)
    scaling = decisions.Scaling(
        "ON", size.autoscaler.min, size.autoscaler.max, size.autoscaler.cpu_target
    )
    busy = [VM.utilisation(rps / size.vms)] * size.vms
    assert decisions.recommend(busy, scaling)[0] == size.vms


def test_no_vm_is_given_more_than_it_was_seen_to_hold() -> None:
    seen = dataclasses.replace(MEASURED, points=MEASURED.points[:3])
    assert sizing.plan(ask(500, p90_ms=1000), seen, VM).rate_a_vm == 150


# The day


def test_a_day_is_the_same_for_the_same_seed() -> None:
    first, again, other = (a_day(ask(3000), seed)[0] for seed in (7, 7, 8))
    assert timeless(first) == timeless(again)
    assert timeless(first) != timeless(other)


def timeless(found: day.Day) -> day.Day:
    return msgspec.structs.replace(found, seconds=0.0)


def test_the_planned_fleet_holds_a_day_with_a_zone_lost_at_its_peak() -> None:
    for rps in (20, 400, 5000):
        found, _ = a_day(ask(rps))
        assert found.good == 1.0
        assert found.lost_good == 1.0


def test_a_thousand_vms_are_simulated() -> None:
    found, _ = a_day(ask(180_000))
    assert found.most_vms >= 900
    assert found.good == 1.0


def test_a_day_of_a_fleet_too_small_does_not_hold() -> None:
    """The control: a simulation that every fleet passes would show nothing."""
    assert a_day(ask(5000), max=12)[0].good < 0.9
    late, _ = a_day(ask(5000, p90_ms=14.0), cpu_target=0.95)
    assert late.good < 0.995
    assert late.lost_good == 0.0


LIVE = ("counted", "recommend", "scale", "resize", "heal")


def test_the_day_is_decided_by_the_live_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, list[tuple[tuple[Any, ...], Any]]] = {}

    def listened(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            kept = tuple(list(a) if isinstance(a, list) else a for a in arguments)
            calls.setdefault(name, []).append((kept, function(*arguments)))
            return calls[name][-1][1]

        return wrapped

    live = {name: getattr(decisions, name) for name in LIVE}
    for name, function in live.items():
        monkeypatch.setattr(decisions, name, listened(name, function))
    a_day(ask(3000))
    for name, function in live.items():
        assert calls[name], f"the day did not ask {name}"
        for arguments, answer in calls[name]:
            assert function(*arguments) == answer
    assert len(calls["recommend"]) == 1440  # Google looks once a minute, and so does the day
    sizes = {answer[0] for _, answer in calls["recommend"]}
    assert len(sizes) > 3


def test_a_decision_that_changes_changes_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = a_day(ask(3000))
    monkeypatch.setattr(decisions, "recommend", lambda used, scaling: (scaling.maximum, "all"))
    after, _ = a_day(ask(3000))
    assert after.most_vms > before.most_vms


def test_the_live_autoscaler_says_the_same_of_the_same_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Utilisations of a simulated day, shown to an autoscaler as the stand-in runs it."""
    seen: list[tuple[float, list[float]]] = []
    recommend = decisions.recommend

    def listening(used: Sequence[float], scaling: decisions.Scaling) -> tuple[int, str]:
        seen.append((len(seen) * LOOK_S, list(used)))
        return recommend(used, scaling)

    with monkeypatch.context() as patch:
        patch.setattr(decisions, "recommend", listening)
        _, simulated = a_day(ask(3000))
    forms = simulated._resources
    group = {**forms.groups[day.GROUP], "targetSize": simulated._begin_with()}
    resources = Resources(groups={day.GROUP: group}, autoscalers=forms.autoscalers)
    now_used: dict[str, float] = {}
    live = Autoscaling(resources, 1.0, lambda items, now: [now_used[item.name] for item in items])
    said = []
    for now, used in seen:
        now_used = {f"vm-{number:05}": share for number, share in enumerate(used)}
        resources.instances = {
            name: Instance(
                name=name, id=1, zone="", address="", group=day.GROUP, template="", phase="run"
            )
            for name in now_used
        }
        said += live.step(now)
        for later in range(1, 6):
            said += live.step(now + later * day.TICK_S)
    assert said == [why for _, why in simulated.said]


# What is refused


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (["--p90", "2"], "without any queue a request takes"),
        (["--zones", "1"], "--survive vm"),
        (["--zones", "0"], "--zones 3"),
        (["--rps", "-5"], "above 0"),
        (["--rps", "9000000"], "several fleets"),
        (["--p90", "nan"], "above 0"),
        (["--from", "/nowhere"], "PROFILE=steps"),
        (["--measure"], "from one source"),
        (["--prices", "/nowhere"], "docs/planning.md"),
        (["--curve", "/nowhere"], "cannot be read"),
    ],
)
def test_what_cannot_be_says_what_to_do(run_of: Path, how: list[str], words: str) -> None:
    asked = {"--rps": "500", "--p90": "40", "--from": str(run_of)}
    told = dict(zip(how[::2], how[1::2], strict=False))
    arguments = [part for pair in {**asked, **told}.items() for part in pair]
    result = CliRunner().invoke(main, ["plan", *arguments, *(how if len(how) == 1 else [])])
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output


def test_a_load_that_was_never_held_tells_nothing(run_of: Path) -> None:
    read = documents.read(verdicts.Verdict, (run_of / "verdict.json").read_bytes(), "here")
    lost = [msgspec.structs.replace(step, keeps_slo=False) for step in read.steps]
    for steps, words in (([], "No step"), (lost, "No step")):
        verdicts.write(msgspec.structs.replace(read, steps=steps), run_of)
        with pytest.raises(ConfigurationError, match=words):
            evidence.read(run_of)
    verdicts.write(msgspec.structs.replace(read, steps=read.steps[:2]), run_of)
    with pytest.raises(ConfigurationError, match="too few"):
        fit(evidence.read(run_of).points, 2)
    verdicts.write(msgspec.structs.replace(read, vms=0), run_of)
    with pytest.raises(ConfigurationError, match="number of its VMs"):
        evidence.read(run_of)


# Documents


@pytest.fixture
def run_of(tmp_path: Path) -> Path:
    """The verdict of a load test by steps, of two VMs, written by the load test's own code."""
    steps = [
        verdicts.Step(
            rate=2 * rate,
            held=2.0 * rate,
            right=2.0 * rate,
            p50_ms=STATION.percentile(rate, 50),
            p90_ms=STATION.percentile(rate, 90),
            p99_ms=STATION.percentile(rate, 99),
            bad=0,
            in_flight=1.0,
            keeps_slo=True,
            generator_ok=True,
            start=100.0 * number,
            end=100.0 * number + 50,
            quantiles_ms={str(p): STATION.percentile(rate, p) for p in PERCENTS},
        )
        for number, rate in enumerate(RATES, 1)
    ]
    made = msgspec.structs.replace(
        verdicts.invalid("made", "", 0.9995), profile="steps", vms=2, steps=steps
    )
    verdicts.write(made, tmp_path)
    return tmp_path


def test_cpu_a_request_is_the_slope_over_the_steps(run_of: Path) -> None:
    samples, used = [], 0.0
    for at in range(801):
        number = min(max(at // 100, 1), len(RATES))
        used += 2 * (
            0.1 + 0.003 * RATES[number - 1]
        )  # two VMs, a tenth of a core each without load
        samples.append((float(at), used))
    cpu = evidence.VmCpu(vcpus=2, samples=samples)
    (run_of / evidence.CPU).write_bytes(documents.write(cpu))
    found = evidence.read(run_of)
    assert found.cpu_s == pytest.approx(0.003, rel=0.01)
    assert found.idle_cores == pytest.approx(0.1, rel=0.05)
    assert [p.rate for p in found.points] == list(RATES)


def test_several_runs_of_one_fleet_are_taken_together_and_of_two_refused() -> None:
    other = dataclasses.replace(
        MEASURED, run="other", points=(Point(500, {90: 900.0}),), cpu_s=None
    )
    both = evidence.pooled([MEASURED, dataclasses.replace(other, not_held=320.0)])
    assert len(both.points) == len(RATES) + 1
    assert both.highest == 300  # what one run missed is not planned for, whatever another held
    assert both.cpu_s == MEASURED.cpu_s
    with pytest.raises(ConfigurationError, match="different fleets"):
        evidence.pooled([MEASURED, dataclasses.replace(other, vms=2)])


def test_the_plan_as_json_says_what_its_table_says(run_of: Path, tmp_path: Path) -> None:
    table = tmp_path / "prices.yml"
    table.write_text(PRICES)
    asked = ["plan", "--rps", "900", "--p90", "40", "--from", str(run_of), "--prices", str(table)]
    shown = CliRunner().invoke(main, asked)
    assert shown.exit_code == 0, shown.output
    made = json.loads(CliRunner().invoke(main, [*asked, "--json"]).stdout)
    fleet, cost = made["fleet"], made["cost"]
    assert made["holds"]
    assert f"{fleet['vms']} at the peak" in shown.output
    assert f"min {fleet['autoscaler']['min']}, max {fleet['autoscaler']['max']}" in shown.output
    hours, million = made["day"]["vm_hours"], made["day"]["requests"] / 1e6
    assert cost["day"] == pytest.approx(hours * 0.5 + 24 * 2 + million * 3)
    assert cost["per_million"] == pytest.approx(cost["day"] / million)
    assert f"{cost['per_million']:.4g} EUR per million" in shown.output


PRICES = """\
schema_version: 1
currency: EUR
vms: {small: {per_hour: 0.5, vcpus: 2}}
fleet_per_hour: 2
per_million_requests: 3
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("per_hour: 0.5", "per_hour: -1", "$.vms[...].per_hour"),
        ("per_hour: 0.5", "hourly: 1", "hourly"),
        ("currency: EUR", "", "currency"),
        ("schema_version: 1", "schema_version: 9", "version 9"),
        ("{small:", "{small", "Not a price table"),
    ],
)
def test_a_price_table_that_is_wrong_is_told_where(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = tmp_path / "prices.yml"
    path.write_text(PRICES.replace(old, new))
    with pytest.raises(ConfigurationError) as caught:
        prices.read(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_machine_type_must_be_the_measured_ones_size() -> None:
    two = {name: prices.VmPrice(per_hour=1, vcpus=4) for name in ("large", "larger")}
    for name in ("", "huge"):
        with pytest.raises(ConfigurationError, match="machine"):
            prices.choose(two, name, "here")
    with pytest.raises(ConfigurationError, match="4 vCPUs, the measured VMs had 2"):
        prices.same_vcpus("large", two["large"], 2)


def test_a_curve_is_read_from_a_file_and_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "day.txt"
    path.write_text("50\n100\n\n25\n50\n")
    read = curve.read(path)
    assert read.shares == (0.5, 1.0, 0.25, 0.5)
    assert read(curve.DAY_S / 8) == pytest.approx(0.75)
    assert read.peak_s == curve.DAY_S / 4
    assert read.growth(curve.DAY_S / 4) == pytest.approx(1.0)
    path.write_text("50\nmany\n")
    with pytest.raises(ConfigurationError, match=":2"):
        curve.read(path)
