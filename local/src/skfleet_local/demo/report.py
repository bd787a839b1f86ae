"""Progress for a person and a verdict for a program: phases with seconds, promises kept or not."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO


@dataclass
class Report:
    """What happened; `broken` decides the exit code."""

    phases: int
    out: TextIO = sys.stdout
    kept: int = 0
    broken: list[str] = field(default_factory=list)
    seconds: list[tuple[str, float]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """One step, announced when it begins and timed when it ends."""
        number = len(self.seconds) + 1
        self.say(f"\n[{number}/{self.phases}] {title}")
        start = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - start
            self.seconds.append((title, took))
            self.say(f"      {took:.1f} s")

    def promise(self, text: str, held: bool, seen: object = "") -> None:
        """State a promise and what was seen."""
        mark = "✓" if held else "✗"
        self.say(f"    {mark} {text}" + (f"  ({seen})" if str(seen) else ""))
        if held:
            self.kept += 1
        else:
            self.broken.append(text)

    def say(self, line: str) -> None:
        """One line, now."""
        print(line, file=self.out, flush=True)

    def close(self) -> int:
        """The table of phases and the verdict; the exit code."""
        self.say("\nSeconds per phase")
        for title, took in self.seconds:
            self.say(f"  {took:6.1f}  {title}")
        self.say(f"  {time.monotonic() - self.started:6.1f}  in all")
        if self.broken:
            self.say(f"\nBROKEN: {len(self.broken)} of {len(self.broken) + self.kept} promises:")
            for text in self.broken:
                self.say(f"  ✗ {text}")
            return 1
        self.say(f"\nAll {self.kept} promises held.")
        return 0
