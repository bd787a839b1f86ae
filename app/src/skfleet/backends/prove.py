"""One backend of an artefact held against its golden vectors, in a process that ends with the answer:
`python -m skfleet.backends.prove BACKEND DIRECTORY`. Exit code 0 proven, 1 wrong, 3 not for this host."""

from __future__ import annotations

import sys
from pathlib import Path

from skfleet.artifacts.directory import read_manifest
from skfleet.backends.apart import NOT_HERE, limit_memory
from skfleet.backends.base import open_backend, verify_golden
from skfleet.errors import SkfleetError, VersionMismatch


def main() -> int:
    """The command."""
    name, directory = sys.argv[1], Path(sys.argv[2])
    try:
        manifest, _ = read_manifest(directory)
        limit_memory(sum(entry.size for entry in manifest.files))
        if name == "onnx":
            # Here alone: workers of a VM have no memory to read the graph twice.
            from skfleet.backends import graph, onnx

            path = directory / onnx.FILE_NAME
            graph.check(path.read_bytes(), str(path))
        verify_golden(open_backend(name, directory, manifest), manifest)
    except (VersionMismatch, ImportError) as error:
        print(str(error).splitlines()[0], file=sys.stderr)  # noqa: T201 - the answer
        return NOT_HERE
    except SkfleetError as error:
        print(error.message, file=sys.stderr)  # noqa: T201
        return 1
    except MemoryError:
        print(f"Backend '{name}' takes more memory than its model may.", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
