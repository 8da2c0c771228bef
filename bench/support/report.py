"""Samples, the table they end in, and the machine they are from."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path

# Of a side that the command line leaves out.
UNWANTED = "not measured: not asked for"
HEAD = ("#", "what", "hatchery", "against", "theirs", "ratio", "target", "met")


@dataclass
class Samples:
    """One side of a comparison. A sample of None was cut off at `limit`: it is that or more, which `late` says."""

    unit: str
    values: list = field(default_factory=list)
    limit: float = 0.0
    late: str = "still alive"

    def add(self, value):
        self.values.append(value)

    def numbers(self):
        return [self.limit if value is None else value for value in self.values]

    def median(self):
        return statistics.median(self.numbers())

    def cut_off(self):
        return self.values.count(None)

    def shown(self):
        if not self.values:
            return "-"
        if self.cut_off() == len(self.values):
            seconds = self.limit / 1e3 if self.unit == "ms" else self.limit
            return f"{self.late} after {seconds:.0f} s ({self.cut_off()} of {len(self.values)})"
        numbers = self.numbers()
        text = f"{number(self.median())} {self.unit} ({number(min(numbers))} - {number(max(numbers))})"
        return text + (f", {self.cut_off()} {self.late}" if self.cut_off() else "")


def number(value):
    """Three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


@dataclass
class Line:
    """One line of the table: what is measured, on us and on one peer, and what it should be. A side of which
    there are no samples says why."""

    row: int
    what: str
    ours: Samples | str
    peer: str = ""
    theirs: Samples | str = ""
    at_most: float | None = None
    ratio_at_most: float | None = None
    ratio_at_least: float | None = None

    def ratio(self):
        """The median over the pairs of ours : theirs. Differences below zero have none."""
        if not measured(self.ours) or not measured(self.theirs):
            return None
        pairs = [(a, b) for a, b in zip(self.ours.numbers(), self.theirs.numbers()) if a >= 0 < b]
        return statistics.median(a / b for a, b in pairs) if pairs else None

    def met(self):
        verdicts = []
        if self.at_most is not None:
            verdicts.append(self.ours.median() <= self.at_most if measured(self.ours) else None)
        ratio = self.ratio()
        if self.ratio_at_most is not None:
            verdicts.append(None if ratio is None else ratio <= self.ratio_at_most)
        if self.ratio_at_least is not None:
            verdicts.append(None if ratio is None else ratio >= self.ratio_at_least)
        if False in verdicts:
            return "**no**"
        if None in verdicts:
            return "in part" if True in verdicts else "not measured"
        return "yes" if verdicts else ""

    def target(self):
        parts = []
        if self.at_most is not None:
            unit = f" {self.ours.unit}" if measured(self.ours) else ""
            parts.append(f"<= {number(self.at_most).removesuffix('.0')}{unit}")
        if self.ratio_at_most is not None:
            parts.append(f"ratio <= {shown_ratio(self.ratio_at_most)}")
        if self.ratio_at_least is not None:
            parts.append(f"ratio >= {shown_ratio(self.ratio_at_least)}")
        return ", ".join(parts)

    def wanted(self):
        """Whether nobody has asked to leave out one of its sides."""
        return UNWANTED not in (self.ours, self.theirs)

    def cells(self):
        ratio = self.ratio()
        shown = "" if ratio is None else shown_ratio(ratio)
        if measured(self.theirs) and self.theirs.cut_off():
            shown = f"< {shown}"
        sides = (said(self.ours), self.peer, said(self.theirs))
        return (str(self.row), self.what, *sides, shown, self.target(), self.met())


def measured(side):
    return isinstance(side, Samples) and bool(side.values)


def said(side):
    return side.shown() if isinstance(side, Samples) else side


def shown_ratio(ratio):
    """As a fraction where it is a small one."""
    return f"1/{1 / ratio:.0f}" if 0 < ratio < 0.2 else f"{ratio:.3f}".removesuffix("0")


def table(lines):
    """Lines as Markdown."""
    return markdown(HEAD, [line.cells() for line in lines if line.wanted()])


def markdown(head, rows):
    cells = [head, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]

    def row(texts):
        return "| " + " | ".join(text.ljust(width) for text, width in zip(texts, widths)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([row(head), rule, *(row(texts) for texts in rows)])


def machine():
    """Name and value of what the figures depend on."""
    info = {"cores": str(len(os.sched_getaffinity(0))), "kernel": f"{platform.system()} {platform.release()}"}
    cpuinfo = Path("/proc/cpuinfo").read_text()
    models = [line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    if models:
        info["processor"] = models[0]
    total = Path("/proc/meminfo").read_text().splitlines()[0].split()[1]
    info["memory"] = f"{int(total) * 1024 / 1e9:.1f} GB"
    sessions = Path("/proc/sys/kernel/sched_autogroup_enabled")
    if sessions.exists():
        info["kernel.sched_autogroup_enabled"] = sessions.read_text().strip()
    info["load average before"] = " ".join(f"{load:.2f}" for load in os.getloadavg())
    return info
