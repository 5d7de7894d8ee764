"""What every benchmark prints: the machine, a table of ratios within one run, and the same as JSON."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["emit", "machine", "spread"]


def machine(*packages: str) -> dict[str, str]:
    """The processor's count and kind, Python's version, and those of `packages`."""
    facts = {"cpus": str(os.cpu_count()), "machine": platform.machine(), "python": platform.python_version()}
    for package in packages:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest of repeated measurements."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def emit(name: str, facts: dict[str, str], rows: list[dict[str, Any]]) -> None:
    """Print `rows` (equal keys) as a table, then everything as one JSON object in the last line."""
    print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    columns = list(rows[0])
    cells = [columns] + [[_text(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print(json.dumps({"benchmark": name, "machine": facts, "rows": rows}))


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"
