"""The command line of a benchmark, and its report."""

import argparse
import datetime
import os
import signal
import sys

from . import report
from .bench import Bench, say
from .running import Sandbox, now
from .side import BENCH, REPO, output


def row_name(rows):
    names = list(rows)

    def found(text):
        if text.isdigit() and 1 <= int(text) <= len(names):
            return names[int(text) - 1]
        if text in rows:
            return text
        raise argparse.ArgumentTypeError(f"{text!r} is none of 1-{len(names)}, {', '.join(names)}")

    return found


def positive(text):
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")


def arguments(name, doc, rows):
    parser = argparse.ArgumentParser(prog=f"bench/run {name}", description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few and short measurements, for a look")
    row_help = f"this row: 1-{len(rows)} or {', '.join(rows)}"
    parser.add_argument("--only", metavar="ROW", type=row_name(rows), action="append", help=row_help)
    side_help = "only sides with TEXT in their name: nginx, round-robin (may be repeated)"
    parser.add_argument("--side", metavar="TEXT", action="append", help=side_help)
    parser.add_argument("--pairs", metavar="N", type=positive, help="measure each side N times in every row")
    return parser.parse_args()


def text_of(title, bench, machine, lines, seconds):
    """The whole report."""
    facts = {**machine, **{name: version for name, version in bench.versions.items() if version}}
    facts["Rust"] = output("rustc", "--version")
    parts = [
        f"# {title}, {datetime.date.today().isoformat()}",
        "Median (lowest - highest). Ratio: the median of ours : theirs over the pairs. "
        "What each row means: [bench/README.md](../README.md).",
        *([report.table(lines)] if lines else []),
    ]
    for heading, table in bench.tables.items():
        parts += [f"## {heading}", table]
    parts += [
        "## Where",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        "## Command lines",
        "\n".join(f"- {name}: `{command}`" for name, command in bench.commands.items()),
    ]
    if bench.absent:
        parts += ["## Not measured", "\n".join(f"- {reason}" for reason in bench.absent)]
    if bench.failures:
        parts += ["## Failures", "\n".join(f"- {failure}" for failure in bench.failures)]
    parts.append(f"The whole took {seconds:.0f} s.")
    return "\n\n".join(parts) + "\n"


def interrupt(*_):
    raise KeyboardInterrupt


def measure(name, title, options, rows):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    machine = report.machine()
    if os.getloadavg()[0] > 0.3:
        print(f"bench: the machine is not idle (load {os.getloadavg()[0]:.2f})", file=sys.stderr)
    began = now()
    with Sandbox() as sandbox:
        bench = Bench(options, sandbox)
        chosen = [rows[row] for row in rows if not options.only or row in options.only]
        lines = [line for row in chosen for line in row(bench)]
    say("")
    text = text_of(title, bench, machine, lines, (now() - began) / 1e9)
    print(text, end="")
    if not (options.quick or options.only or options.side):
        path = BENCH / "results" / f"{name}-{datetime.date.today().isoformat()}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        print(f"\nstored in {path.relative_to(REPO)}")
        if bench.drawing:
            path.with_suffix(".svg").write_text(bench.drawing)
            print(f"drawn in {path.with_suffix('.svg').relative_to(REPO)}")
    return 1 if bench.failures else 0


def run(name, title, doc, rows):
    """Measures the rows that are asked for, prints what was found, and ends this process."""
    try:
        sys.exit(measure(name, title, arguments(name, doc, rows), rows))
    except KeyboardInterrupt:
        sys.exit(130)
