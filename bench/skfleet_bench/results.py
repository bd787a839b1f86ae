"""Rows of the result: medians over rounds, and the contenders that did not come so far."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from skfleet_bench.measure import Figures, Sample

Row = dict[str, Any]
Key = tuple[str, str]  # contender, case
DIGITS = {
    "rps": 1,
    "cpu_us": 1,
    "pss_mib": 1,
    "vm_cpu_us": 1,
    "envoy_cpu_us": 1,
    "stand_ins_cpu_us": 1,
}


def rows(
    samples: Mapping[Key, Sequence[Sample]],
    failures: Mapping[Key, str],
    versions: Mapping[str, Mapping[str, str]],
) -> list[Row]:
    """One row a contender and case, in the order of the run: `error` is None, or why there is no figure."""
    found: list[Row] = []
    for key in dict.fromkeys([*samples, *failures]):
        contender, case = key
        figures = median(samples.get(key, ()))
        found.append(
            {
                "contender": contender,
                "case": case,
                **figures,
                "rounds": len(samples.get(key, ())),
                "versions": dict(versions.get(contender, {})),
                "error": failures.get(key),
            }
        )
    return found


def median(samples: Sequence[Figures], form: type[Figures] = Sample) -> Row:
    """Each figure's median by itself; errors are added up; None where nobody measured."""
    found: Row = {}
    for name in form.__dataclass_fields__:
        values = [value for sample in samples if (value := asdict(sample)[name]) is not None]
        if not values:
            found[name] = None
        elif name == "errors":
            found[name] = sum(values)
        else:
            found[name] = round(statistics.median(values), DIGITS.get(name, 3))
    return found
