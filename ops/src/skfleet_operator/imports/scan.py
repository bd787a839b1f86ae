"""What a pickle needs, read from its opcodes: nothing of it is run."""

from __future__ import annotations

import io
import pickletools
import zlib
from dataclasses import dataclass

from skfleet_operator.text import printable

MAGIC_ZLIB = b"x"
MAX_BYTES = 512 << 20  # of a pickle, and of what it becomes


@dataclass(frozen=True, slots=True)
class Needs:
    """`globals`: modules' names that unpickling imports; `version`: of the scikit-learn that wrote it."""

    globals: tuple[str, ...] = ()
    version: str = ""
    whole: bool = (
        True  # False: arrays stand between the opcodes (joblib), and the rest was not read
    )


def scan(data: bytes, max_bytes: int = MAX_BYTES) -> Needs:
    """The needs of a pickle, plain or joblib's, with zlib or not; at most `max_bytes` are unpacked."""
    if data[:1] == MAGIC_ZLIB:
        try:
            data = zlib.decompressobj().decompress(data, max_bytes)
        except zlib.error:
            return Needs(whole=False)
    found: dict[str, None] = {}
    strings: list[str] = []
    version, whole = "", True
    memo: dict[int, str] = {}
    text = ""  # what the opcode before this one put on the stack, where it was text
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
            if opcode.name == "MEMOIZE":
                memo[len(memo)] = text
                continue
            if opcode.name in ("BINPUT", "LONG_BINPUT", "PUT"):
                memo[int(str(argument))] = text
                continue
            text = ""
            if opcode.name in ("GLOBAL", "INST"):
                found[str(argument).replace(" ", ".")] = None
            elif opcode.name == "STACK_GLOBAL" and len(strings) > 1:
                found[f"{strings[-2]}.{strings[-1]}"] = None
            elif "UNICODE" in opcode.name or "STRING" in opcode.name:
                text = str(argument)
            elif opcode.name in ("BINGET", "LONG_BINGET", "GET"):
                text = memo.get(int(str(argument)), "")
            if text:
                if strings and strings[-1] == "_sklearn_version":
                    version = version or text
                strings.append(text)
    except Exception:  # noqa: BLE001 - joblib writes arrays between the opcodes
        whole = False
    return Needs(tuple(map(printable, found)), printable(version), whole)


def foreign(needs: Needs) -> list[str]:
    """What is neither scikit-learn's, NumPy's nor joblib's: code that a model should not need."""
    own = ("sklearn.", "numpy.", "joblib.", "scipy.", "copyreg.", "builtins.", "__builtin__.",
           "copy_reg.", "_codecs.", "collections.")  # fmt: skip
    return [name for name in needs.globals if not name.startswith(own)]
