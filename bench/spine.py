#!/usr/bin/env python3
"""hatchery's spine against its peers, side by side: start, deaths, memory, idling, serving.

Started by bench/run, which builds and installs what this needs. bench/README.md says what each row means.
"""

import itertools
import os
import signal
import sys
import time

sys.dont_write_bytecode = True

from support import proc, wrk  # noqa: E402
from support.bench import count, samples  # noqa: E402
from support.command import run  # noqa: E402
from support.node import Egg, NodeCluster  # noqa: E402
from support.others import Granian, Gunicorn, Nginx  # noqa: E402
from support.report import Line  # noqa: E402
from support.running import Failed, now  # noqa: E402
from support.rust import Hatchery, Plain  # noqa: E402

# How long survivors of a master are watched, in seconds.
SURVIVAL = 5.0
# How long a server is left alone before it counts as idle, in seconds.
SETTLE = 0.5


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
    mine, theirs = samples("ms", found[us], scale=1e-6), samples("ms", found[egg], scale=1e-6)
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
    mine = samples("ms", found[us], **limits)
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
    mine = samples("ms", found[us], scale=1e-6)
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
            samples("MB", found[us], key=key),
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
            samples(unit, found[us], key=key),
            "gunicorn",
            samples(unit, found[gunicorn], key=key),
            at_most=at_most,
        )
        for key, what, unit, at_most in kinds
    ]


def keep_alive(bench):
    """6: requests on keep-alive connections: processor time for each, rate and latency."""
    if reason := wrk.missing():
        return [Line(6, "keep-alive", f"not measured: {reason}", "axum::serve")]
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
                if load["failures"] or not load["requests"]:
                    raise Failed(f"wrk met errors: {load}")
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
            mine, theirs = samples(unit, found[us], key=key), samples(unit, found[plain], key=key)
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


if __name__ == "__main__":
    run("spine", "hatchery against its peers", __doc__, ROWS)
