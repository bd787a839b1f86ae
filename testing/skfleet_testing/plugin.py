"""The pytest plugin: which tests run, in which order, and which share a worker."""

from __future__ import annotations

import os
from itertools import groupby

import pytest

from skfleet_testing import areas
from skfleet_testing.progress import Progress, file_of, recorded

# One thread in each process, as the service has it; before NumPy is imported. OpenMP's threads spin while
# they wait: beside other work on two cores a prediction by trees took 400 ms of two, and 0.5 ms of one.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

PARTS = ("beside", "alone")
# The session's fleet of playbooks/tests: who needs it shares a worker, so that one fleet is booted.
SHARED_FLEET = "first-fleet"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of `make test`."""
    group = parser.getgroup("skfleet")
    group.addoption("--area", help="run the tests of one area: a directory's name, or with -fleet")
    group.addoption("--part", choices=PARTS, help="what runs beside others, or what measures load")
    group.addoption("--progress", action="store_true", help="a line for each file that has ended")
    group.addoption("--record-seconds", action="store_true", help="write seconds.json anew")


@pytest.hookimpl(trylast=True)  # the terminal reporter is there
def pytest_configure(config: pytest.Config) -> None:
    """Take the area's files for those that were named, and report progress."""
    if area := config.getoption("area"):
        try:
            files = areas.files_of(area, config.rootpath, config.getini("testpaths"))
        except ValueError as error:
            raise pytest.UsageError(str(error)) from None
        config.args[:] = files
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if config.getoption("progress") and reporter and not hasattr(config, "workerinput"):
        reporter.showfspath = False
        config.pluginmanager.register(Progress(reporter), "skfleet-progress")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what was not asked for; the longest first, where workers share them out.

    What is marked `full` runs with `make test-full`; Molecule's scenarios name the tests that they want of
    their fleet: all of those run.
    """
    out: list[pytest.Item] = []
    everything = os.environ.get("SKFLEET_TEST_FULL") or os.environ.get("SKFLEET_TEST_FLEET")
    area, part = config.getoption("area"), config.getoption("part")
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if (
            ("full" in marks and not everything)
            or (part and ("load" in marks) != (part == "alone"))
            or (area and ("fleet" in marks) != area.endswith(areas.FLEET))
        ):
            out.append(item)
    if out:
        config.hook.pytest_deselected(items=out)
        left = set(out)
        items[:] = [item for item in items if item not in left]
    if config.getoption("loadgroup", False):
        _share_out(items)


def group_of(item: pytest.Item) -> str:
    """Tests of a group run on one worker: those of a file, and those of one fleet."""
    if mark := item.get_closest_marker("xdist_group"):
        return str(mark.args[0])
    if "fleet" in getattr(item, "fixturenames", ()) and item.path.parent.parent.name == "playbooks":
        return SHARED_FLEET
    return file_of(item.nodeid)


def _share_out(items: list[pytest.Item]) -> None:
    seconds = recorded()
    of_group: dict[str, float] = {}
    for file, tests in groupby(items, key=lambda item: file_of(item.nodeid)):
        group = {group_of(item) for item in tests}
        for one in group:
            of_group[one] = of_group.get(one, 0.0) + seconds[file]
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(group_of(item)))
    items.sort(key=lambda item: -of_group[group_of(item)])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Record, where that was asked for."""
    progress = session.config.pluginmanager.get_plugin("skfleet-progress")
    if progress is not None and session.config.getoption("record_seconds"):
        progress.record()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What each file took, also where several ran side by side."""
    seconds: dict[str, float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                file = file_of(report.nodeid)
                seconds[file] = seconds.get(file, 0.0) + report.duration
    terminalreporter.section("seconds of each file")
    for file, took in sorted(seconds.items(), key=lambda pair: -pair[1]):
        terminalreporter.write_line(f"{took:7.1f} s {file}")
