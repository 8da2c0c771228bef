#!/usr/bin/env python3
"""hatchery's spine against its peers, side by side: start, deaths, memory, idling, serving.

Started by bench/run, which builds and installs what this needs. bench/README.md says what each row means.
"""

import argparse
import datetime
import itertools
import os
import shlex
import signal
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True

from support import proc, report, wrk  # noqa: E402
from support.report import Line, Samples  # noqa: E402
from support.running import Failed, Sandbox, now  # noqa: E402
from support.sides import (  # noqa: E402
    BENCH,
    RELEASE,
    REPO,
    Egg,
    Granian,
    Gunicorn,
    Hatchery,
    Nginx,
    NodeCluster,
    Plain,
    output,
)

# How long survivors of a master are watched, in seconds.
SURVIVAL = 5.0
# How long a server is left alone before it counts as idle, in seconds.
SETTLE = 0.5


class Bench:
    """What all rows share: where things run, how often, what was run and what went wrong."""

    def __init__(self, options, sandbox):
        self.quick = options.quick
        self.pairs = options.pairs
        self.sandbox = sandbox
        self.commands = {}
        self.versions = {}
        self.failures = []

    def rounds(self, usual, quick=2):
        return self.pairs or (quick if self.quick else usual)

    def start(self, side, limit=60.0):
        server = side.start(self.sandbox, limit)
        self.note(f"{side.name}, {server_size(side)}", server.popen.args)
        if side.name not in self.versions:
            self.versions[side.name] = side.version()
        return server

    def note(self, name, argv):
        """Keeps a command line, without the paths of this machine."""
        text = shlex.join(argv)
        places = {self.sandbox.root: "$TMP", RELEASE: "target/release", REPO: ".", Path.home(): "~"}
        for path, shown in places.items():
            text = text.replace(f"{path}/", f"{shown}/")
        for folder in ("/usr/bin/", "/usr/local/bin/", "/usr/sbin/"):
            text = text.removeprefix(folder)
        self.commands.setdefault(name, text)

    def alternate(self, title, sides, rounds, measure):
        """A B A B ...: one measurement of each side a round, each on a fresh server, after one round
        that does not count. Returns for each side the list of what was measured, or why there is none.
        """
        results = {}
        usable = []
        for side in sides:
            reason = side.missing()
            results[side] = f"not measured: {reason}" if reason else []
            if not reason:
                usable.append(side)
        for turn in range(-1, rounds):
            for side in list(usable):
                say(f"{title}: {side.name}, {'warming up' if turn < 0 else f'{turn + 1} of {rounds}'}")
                try:
                    value = measure(side)
                    if turn >= 0:
                        results[side].append(value)
                except (Failed, OSError) as error:
                    self.failures.append(f"{title}, {side.name}: {error}")
                    results[side] = "failed, see below"
                    usable.remove(side)
                finally:
                    self.sandbox.end_all()
        return results


def server_size(side):
    threads = count(side.threads, "thread") if hasattr(side, "threads") else None
    if isinstance(side, Plain):
        return threads
    workers = count(side.workers, "worker")
    return f"{workers} of {threads}" if threads else workers


def count(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"


def say(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def samples(unit, measured, scale=1.0, limit=0.0, key=None):
    """The measured values as samples, or the reason why there are none."""
    if isinstance(measured, str):
        return measured
    values = [value if key is None else value[key] for value in measured]
    return Samples(unit, [None if value is None else value * scale for value in values], limit)


def ours(unit, measured, **more):
    """As `samples`; hatchery is always there, but may have failed."""
    found = samples(unit, measured, **more)
    return Samples(unit) if isinstance(found, str) else found


def start(bench):
    """1: from just before the start to the line that says that everything is ready."""
    us, egg = Hatchery(), Egg()

    def measure(side):
        server = bench.start(side)
        try:
            return server.ready - server.began
        finally:
            server.close()

    found = bench.alternate("start", [us, egg], bench.rounds(11), measure)
    mine, theirs = ours("ms", found[us], scale=1e-6), samples("ms", found[egg], scale=1e-6)
    return [Line(1, "start to egg-ready, 2 workers", mine, "Egg", theirs, at_most=40, ratio_at_most=1 / 15)]


def master_death(bench):
    """2: from SIGKILL of the master until none of the others is left."""
    us = Hatchery()
    peers = [Egg(), NodeCluster(), Gunicorn(), Nginx(), Granian()]

    def measure(side):
        server = bench.start(side)
        try:
            time.sleep(SETTLE)
            return server.kill_master(SURVIVAL)
        finally:
            server.close()

    found = bench.alternate("death of the master", [us, *peers], bench.rounds(5), measure)
    limits = {"scale": 1e3, "limit": SURVIVAL * 1e3}
    what = "SIGKILL of the master to last idle child gone"
    mine = ours("ms", found[us], **limits)
    return [Line(2, what, mine, peer.name, samples("ms", found[peer], **limits), at_most=20) for peer in peers]


def worker_death(bench):
    """3: from SIGKILL of a worker until its replacement is ready."""
    us = Hatchery()
    peers = [Egg(), NodeCluster()]

    def measure(side):
        server = bench.start(side)
        try:
            time.sleep(SETTLE)
            began = now()
            os.kill(server.workers[0], signal.SIGKILL)
            return side.replacement(server) - began
        finally:
            server.close()

    found = bench.alternate("death of a worker", [us, *peers], bench.rounds(7), measure)
    mine = ours("ms", found[us], scale=1e-6)
    what = "SIGKILL of a worker to replacement ready"
    return [Line(3, what, mine, peer.name, samples("ms", found[peer], scale=1e-6), at_most=50) for peer in peers]


def memory(bench):
    """4: what all processes of an idle cluster occupy."""
    us, egg = Hatchery(), Egg()

    def measure(side):
        server = bench.start(side)
        try:
            time.sleep(2.0)
            return proc.memory(server.pids())
        finally:
            server.close()

    found = bench.alternate("memory", [us, egg], bench.rounds(5), measure)
    kinds = (("Pss", "PSS", 25), ("Private", "private", None), ("Rss", "RSS", None))
    return [
        Line(
            4,
            f"memory of master, agent, 2 idle workers: {name}",
            ours("MB", found[us], key=key),
            "Egg",
            samples("MB", found[egg], key=key),
            at_most=at_most,
        )
        for key, name, at_most in kinds
    ]


def many_workers(bench):
    """5: 256 workers: their start, and what they cost while nothing happens."""
    us, gunicorn = Hatchery(workers=256), Gunicorn(workers=256)
    watched = 5.0 if bench.quick else 20.0

    def measure(side):
        server = bench.start(side, limit=180.0)
        try:
            time.sleep(2.0)
            pids = server.pids()
            began = now()
            master, tree = proc.cpu_seconds(pids[:1]), proc.cpu_seconds(pids)
            time.sleep(watched)
            master, tree = proc.cpu_seconds(pids[:1]) - master, proc.cpu_seconds(pids) - tree
            percent = 100 / ((now() - began) / 1e9)
            return {
                "start": (server.ready - server.began) / 1e9,
                "master": master * percent,
                "tree": tree * percent,
                "pss": proc.memory(pids)["Pss"],
            }
        finally:
            server.close()

    found = bench.alternate("256 workers", [us, gunicorn], bench.rounds(5, quick=1), measure)
    kinds = (
        ("start", "start to ready", "s", 5),
        ("master", f"master's CPU over {watched:.0f} s, idle", "% of a core", 1),
        ("tree", f"all processes' CPU over {watched:.0f} s, idle", "% of a core", None),
        ("pss", "PSS of all processes", "MB", None),
    )
    return [
        Line(
            5,
            f"256 workers: {what}",
            ours(unit, found[us], key=key),
            "gunicorn",
            samples(unit, found[gunicorn], key=key),
            at_most=at_most,
        )
        for key, what, unit, at_most in kinds
    ]


def keep_alive(bench):
    """6: requests on keep-alive connections: processor time for each, rate and latency."""
    if reason := wrk.missing():
        return [Line(6, "keep-alive", Samples(""), "axum::serve", f"not measured: {reason}")]
    bench.versions["wrk"] = wrk.version()
    seconds = 1 if bench.quick else 5
    lines = []
    for threads, connections in itertools.product((2, 1), (16, 64)):
        us, plain = Hatchery(workers=threads), Plain(threads=threads)

        def measure(side):
            server = bench.start(side)
            try:
                wrk.run(server.port, connections, 1)
                pids = server.pids()
                before = proc.cpu_seconds(pids)
                load = wrk.run(server.port, connections, seconds)
                cpu = proc.cpu_seconds(pids) - before
                return {**load, "cpu": cpu * 1e6 / load["requests"]}
            finally:
                server.close()

        title = f"keep-alive, {threads} x 1 thread, {connections} connections"
        found = bench.alternate(title, [us, plain], bench.rounds(11), measure)
        peer = f"axum::serve, {count(threads, 'thread')}"
        kinds = (
            ("cpu", "CPU a request", "us", 1.05),
            ("rate", "requests a second", "/s", None),
            ("p50", "p50", "us", None),
            ("p99", "p99", "us", None),
        )
        for key, what, unit, ratio in kinds:
            mine, theirs = ours(unit, found[us], key=key), samples(unit, found[plain], key=key)
            lines.append(Line(6, f"{title}: {what}", mine, peer, theirs, ratio_at_most=ratio))
    bench.note("wrk", wrk.command("PORT", "CONNECTIONS", seconds))
    return lines


ROWS = {
    "start": start,
    "master-death": master_death,
    "worker-death": worker_death,
    "memory": memory,
    "many-workers": many_workers,
    "keep-alive": keep_alive,
}


def row_name(text):
    names = list(ROWS)
    if text.isdigit() and 1 <= int(text) <= len(names):
        return names[int(text) - 1]
    if text in ROWS:
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is none of 1-{len(names)}, {', '.join(names)}")


def positive(text):
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")


def arguments():
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few and short measurements, for a look")
    parser.add_argument(
        "--only", metavar="ROW", type=row_name, action="append", help=f"this row: 1-{len(ROWS)} or {', '.join(ROWS)}"
    )
    parser.add_argument("--pairs", metavar="N", type=positive, help="measure each side N times in every row")
    return parser.parse_args()


def text_of(bench, machine, lines, seconds):
    """The whole report."""
    facts = {**machine, **{name: version for name, version in bench.versions.items() if version}}
    facts["Rust"] = output("rustc", "--version")
    parts = [
        f"# hatchery against its peers, {datetime.date.today().isoformat()}",
        "Median (lowest - highest). Ratio: the median of ours : theirs over the pairs. "
        "What each row means: [bench/README.md](../README.md).",
        report.table(lines),
        "## Where",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        "## Command lines",
        "\n".join(f"- {name}: `{command}`" for name, command in bench.commands.items()),
    ]
    if bench.failures:
        parts += ["## Failures", "\n".join(f"- {failure}" for failure in bench.failures)]
    parts.append(f"The whole took {seconds:.0f} s.")
    return "\n\n".join(parts) + "\n"


def interrupt(*_):
    raise KeyboardInterrupt


def main():
    options = arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    machine = report.machine()
    if os.getloadavg()[0] > 0.3:
        print(f"bench: the machine is not idle (load {os.getloadavg()[0]:.2f})", file=sys.stderr)
    began = now()
    with Sandbox() as sandbox:
        bench = Bench(options, sandbox)
        rows = [ROWS[name] for name in ROWS if not options.only or name in options.only]
        lines = [line for row in rows for line in row(bench)]
    say("")
    text = text_of(bench, machine, lines, (now() - began) / 1e9)
    print(text, end="")
    if not options.quick and not options.only:
        path = BENCH / "results" / f"spine-{datetime.date.today().isoformat()}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        print(f"\nstored in {path.relative_to(REPO)}")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
