"""Schemathesis against a real gunicorn: our own OpenAPI document, and the Open Inference Protocol's.

Never a server error, never an answer that is not documented, no undocumented method, identity always asked
for; what the schema refuses is refused. `SKFLEET_TEST_FULL=1` draws twenty times as many cases.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .oip import document
from .processes import Gunicorn
from .zoo import kinds, write

EXAMPLES = 200 if os.environ.get("SKFLEET_TEST_FULL") else 10
SCHEMATHESIS = shutil.which("schemathesis", path=str(Path(sys.executable).parent))


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fuzz") / "raw-columns-forest"
    write(kinds()["raw-columns-forest"], directory)
    return directory


@pytest.fixture
def server(gunicorn: Callable[..., Gunicorn], artefact: Path, forest: Path) -> Gunicorn:
    return gunicorn(
        SKFLEET_MODELS=f"tiny={artefact},raw-columns-forest={forest}", SKFLEET_LOG_LEVEL="warning"
    )


def run(server: Gunicorn, schema: str, bearer: dict[str, str], *more: str) -> str:
    command = [
        str(SCHEMATHESIS), "run", schema, "--url", f"http://127.0.0.1:{server.ports['internal']}",
        "--header", f"Authorization: {bearer['authorization']}", "--max-examples", str(EXAMPLES),
        "--phases", "examples,coverage,fuzzing", "--seed", "1", "--no-shrink", "--continue-on-failure",
        "--warnings", "off", *more,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    found = re.search(r"(\d+) generated", done.stdout)
    print(f"{found[1] if found else '?'} cases")  # noqa: T201 - the count is the evidence
    assert done.returncode == 0, done.stdout[-6000:]
    assert found is not None
    return found[1]


@pytest.mark.skipif(SCHEMATHESIS is None, reason="needs schemathesis: make venv")
def test_our_own_document_holds(
    server: Gunicorn, bearer_header: dict[str, str], tmp_path: Path
) -> None:
    answer = server.request("GET", "/openapi.json", to="internal", **bearer_header)
    (tmp_path / "openapi.json").write_bytes(answer.body)
    # JSON Schema cannot say that a tensor's data fits its shape; everything else that fits is a 200.
    count = run(server, str(tmp_path / "openapi.json"), bearer_header,
                "--exclude-checks", "positive_data_acceptance", "--exclude-path", "/metrics")  # fmt: skip
    assert int(count) > 300


@pytest.mark.skipif(SCHEMATHESIS is None, reason="needs schemathesis: make venv")
def test_the_published_protocols_document_holds(
    server: Gunicorn, bearer_header: dict[str, str], tmp_path: Path
) -> None:
    metadata = server.request("GET", "/v2/models/tiny", to="internal", **bearer_header).json
    example: dict[str, Any] = {
        "inputs": [{"name": "input-0", "shape": [1, 37], "datatype": "FP64", "data": [0] * 37}]
    }
    path = tmp_path / "oip.json"
    path.write_text(json.dumps(document("tiny", metadata["versions"][0], example)))
    # The protocol has more freedom than a model has: its own document accepts what no model can.
    run(server, str(path), bearer_header, "--exclude-checks",
        "positive_data_acceptance,negative_data_rejection")  # fmt: skip


@pytest.mark.skipif(SCHEMATHESIS is None, reason="needs schemathesis: make venv")
def test_a_document_that_does_not_hold_is_seen(
    server: Gunicorn, bearer_header: dict[str, str], tmp_path: Path
) -> None:
    """The negative control."""
    wrong = document("tiny", "1", {"inputs": []})
    schema = wrong["paths"]["/v2/health/live"]["get"]["responses"]["200"]["content"]
    schema["application/json"]["schema"]["properties"]["live"]["type"] = "string"
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(wrong))
    with pytest.raises(AssertionError, match="live"):
        run(server, str(path), bearer_header, "--include-path", "/v2/health/live")
