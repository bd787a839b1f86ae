"""The report and the comparisons."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from skfleet_loadtest import compare, events, gate
from skfleet_loadtest.figures import Cell
from skfleet_loadtest.record import Record, read, write
from skfleet_loadtest.report import page

from .conftest import STARTED, fail, slow

Make = Callable[..., Record]


class _Links(HTMLParser):
    """Everything the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = ("src", "href", "data", "action")
        self.loaded += [str(value) for name, value in attrs if name in names]


def test_the_report_shows_the_run_and_loads_nothing(make_record: Make, tmp_path: Path) -> None:
    record = make_record(
        release=lambda second: "r<2>" if second > 40 else "r1",
        change=lambda second, cell: fail(cell, 4) if second == 20 else None,
    )
    file = tmp_path / "events.jsonl"
    file.write_text(
        "\n".join(
            [
                json.dumps({"at": STARTED + 30, "step": "drain", "host": "vm-1"}),
                json.dumps({"at": STARTED, "vm": "vm-1", "event": "verified", "reason": ""}),
                "no JSON",
            ]
        )
    )
    html = page.render(record, gate.judge(record), file)
    links = _Links()
    links.feed(html)
    assert links.loaded == []
    for text in ("FAIL", "availability", "r&lt;2&gt;", "drain vm-1", "status 503", "verified"):
        assert text in html
    assert "url(" not in html
    assert "r<2>" not in html


def test_a_record_is_read_as_it_was_written(make_record: Make, tmp_path: Path) -> None:
    record = make_record()
    write(record, tmp_path)
    assert gate.judge(read(tmp_path)) == gate.judge(record)


def test_a_slower_run_is_worse_than_its_baseline_and_an_equal_one_is_not(make_record: Make) -> None:
    this = make_record(change=lambda second, cell: slow(cell, 60))
    judged = gate.judge(this)
    assert compare.with_baseline(judged, this, None).comparison is None
    found = compare.with_baseline(judged, this, make_record()).comparison
    assert found is not None
    assert [worse.split(":")[0] for worse in found.worse] == ["p50", "p90", "p99"]
    same = compare.with_baseline(judged, this, this).comparison
    assert same is not None
    assert same.worse == []


def test_a_canary_is_compared_with_all_other_releases(make_record: Make) -> None:
    def bad_canary(second: int, cell: Cell) -> None:
        if second % 4 == 0:
            fail(cell, 5)

    record = make_record(
        release=lambda second: "new" if second % 4 == 0 else "old", change=bad_canary, canary="new"
    )
    found = compare.with_canary(gate.judge(record), record).canary
    assert found is not None
    assert found.baseline["failures"] == {}
    assert found.worse[0].startswith("failures: 10.000%")


def test_a_vm_is_a_band_from_each_event_to_its_next() -> None:
    lines = [
        json.dumps({"at": at, "vm": "vm-1", "event": event})
        for at, event in ((90, "create"), (110, "verified"), (150, "deleted"))
    ]
    found = events.parse(lines, 100, 200)
    assert [(s.start, s.end, s.state) for s in found.spans] == [
        (100, 110, "create"),
        (110, 150, "verified"),
    ]
