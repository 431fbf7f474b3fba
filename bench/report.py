"""What came out: rows of samples, the goals that they are held against, a table and JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Mapping, Sequence

Samples = Sequence[float]


@dataclass(frozen=True, slots=True)
class Goal:
    """``of`` is "ratio" or "value" (annexd's own); ``least`` or else ``most``."""

    of: str
    least: float | None = None
    most: float | None = None

    def met(self, ratio: float | None, value: float) -> bool | None:
        number = ratio if self.of == "ratio" else value
        if number is None:
            return None
        if self.least is not None:
            return number >= self.least
        return self.most is None or number <= self.most

    def __str__(self) -> str:
        sign, number = (">=", self.least) if self.least is not None else ("<=", self.most)
        return f"{'x' if self.of == 'ratio' else ''}{sign} {number:g}"


@dataclass(frozen=True, slots=True)
class Row:
    id: str
    title: str
    unit: str
    ours: Samples
    theirs: Samples = ()
    against: str = "git-annex-shell"
    goal: Goal | None = None

    @property
    def value(self) -> float:
        return median(self.ours)

    @property
    def ratio(self) -> float | None:
        """annexd's median as a multiple of the other's; of differences there is none."""
        theirs = median(self.theirs) if self.theirs else 0.0
        return self.value / theirs if theirs > 0 < self.value else None

    @property
    def met(self) -> bool | None:
        return self.goal.met(self.ratio, self.value) if self.goal else None

    def as_json(self) -> Mapping[str, object]:
        return {
            "id": self.id,
            "title": self.title,
            "unit": self.unit,
            "against": self.against,
            "theirs": list(self.theirs),
            "ours": list(self.ours),
            "median_theirs": median(self.theirs) if self.theirs else None,
            "median_ours": self.value,
            "ratio": self.ratio,
            "goal": str(self.goal) if self.goal else None,
            "met": self.met,
        }


@dataclass(slots=True)
class Report:
    machine: Mapping[str, str]
    ours: str
    rows: list[Row] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Sections that could not be measured, and why."""

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "machine": self.machine,
            "ours": self.ours,
            "rows": [row.as_json() for row in self.rows],
            "failed": self.failed,
        }
        path.write_text(json.dumps(document, indent=1) + "\n")

    def __str__(self) -> str:
        lines = [f"{name}: {value}" for name, value in self.machine.items()]
        lines.append(
            "median [least-most]; ratio = right column / left column; goals with x are for the ratio"
        )
        lines.append("")
        lines.append(_line("measure", "unit", "against", self.ours, "ratio", "goal", ""))
        lines.extend(_table_line(row) for row in self.rows)
        missed = [row.id for row in self.rows if row.met is False]
        lines.append("")
        lines.append(f"goals missed: {', '.join(missed)}" if missed else "goals: all met that were measured")
        lines.extend(f"NOT MEASURED {section}: {reason}" for section, reason in self.failed.items())
        return "\n".join(lines)


def _table_line(row: Row) -> str:
    theirs = _range(row.theirs) + ("" if row.against == "git-annex-shell" else f" {row.against}")
    ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
    met = {True: "met", False: "MISSED", None: ""}[row.met]
    return _line(row.title, row.unit, theirs, _range(row.ours), ratio, str(row.goal or ""), met)


def _line(*cells: str) -> str:
    widths = (52, 7, 46, 28, 6, 9, 6)
    return " ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _range(samples: Samples) -> str:
    if not samples:
        return "-"
    if len(samples) == 1:
        return _number(samples[0])
    return f"{_number(median(samples))} [{_number(min(samples))}-{_number(max(samples))}] n={len(samples)}"


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
