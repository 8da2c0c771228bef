#!/usr/bin/env python3
"""hatchery's deploys under load: reloads, upgrades, a build that is broken, a master that dies.

Started by bench/run, which builds what this needs. bench/README.md says what each row means.
"""

import os
import signal
import sys
import time

sys.dont_write_bytecode = True

from support.bench import say  # noqa: E402
from support.command import run  # noqa: E402
from support.deployed import Deployed, crowd  # noqa: E402
from support.report import Line, Samples  # noqa: E402
from support.running import Failed, now  # noqa: E402

STRATEGIES = ("round-robin", "least-connections", "weighted", "ip-hash", "shared", "reuse-port")
# How long clients come before the first deploy and after the last, in seconds.
SETTLE = 1.0
# How long a master may take to serve in the place of one that was killed, in milliseconds, and the grace that its
# children have. With round-robin it does not wait for them: they have no socket of the address.
AGAIN = 100
GRACE = 5000


def under_load(bench, side, title, rounds, deploy):
    """One server, clients all the time, and so many deploys: how long each took, and what the clients saw."""
    took, seen = [], {}
    try:
        server = bench.start(side)
        with crowd(server.port, seen):
            time.sleep(SETTLE)
            for turn in range(rounds):
                say(f"{title}, {side.name}: {turn + 1} of {rounds}")
                took.append(deploy(side))
                server.skip()
            time.sleep(SETTLE)
        server.close()
    except (Failed, OSError) as error:
        bench.failures.append(bench.shown(f"{title}, {side.name}: {error}"))
        return None
    finally:
        bench.sandbox.end_all()
    if seen["failed"]:
        bench.failures.append(f"{title}, {side.name}: {seen['why']}")
    return took, seen


def lines_of(row, title, side, rounds, measured, at_most=None):
    if measured is None:
        return [Line(row, f"{title}, {side.name}", "failed, see below")]
    took, seen = measured
    name = f"{rounds} times {title}, {side.name}"
    failed = Line(row, f"{name}: failed of {seen['answered']:,} requests", Samples("requests", [seen["failed"]]), at_most=0)
    longest = Line(row, f"{name}: longest request", Samples("ms", [seen["longest_ms"]]))
    return [failed, longest, Line(row, f"{name}: the command", Samples("ms", took), at_most=at_most)]


def deploys(bench, row, verb, rounds, strategies):
    """A new build, and the command that has it adopted."""

    def deploy(side):
        side.deploy("clustered")
        return side.succeed(verb)

    lines = []
    for strategy in strategies:
        side = Deployed(strategy)
        if not bench.missing(side):
            lines += lines_of(row, verb, side, rounds, under_load(bench, side, verb, rounds, deploy))
    return lines


def reload(bench):
    """1: every worker is replaced by one of a new build."""
    return deploys(bench, 1, "reload", bench.rounds(20), STRATEGIES)


def upgrade(bench):
    """2: a new master, agent and workers on the same sockets."""
    return deploys(bench, 2, "upgrade", bench.rounds(10), ("round-robin", "shared", "reuse-port"))


def broken(bench):
    """3: a build whose processes end as soon as they are started."""

    def deploy(side):
        side.deploy("plain")
        code, took = side.order("reload")
        if code != 7:
            raise Failed(f"reload ended with code {code}, and not with 7")
        return took

    side, rounds = Deployed("round-robin"), bench.rounds(10)
    title = "reload of a broken build (code 7)"
    return lines_of(3, title, side, rounds, under_load(bench, side, title, rounds, deploy), at_most=60_000)


def master_death(bench):
    """4: the master is killed and started again at once, on the same port."""
    lines, rounds = [], bench.rounds(20)
    for strategy in ("round-robin", "shared", "reuse-port"):
        grace = 0 if strategy == "round-robin" else GRACE
        for title, clients in (("idle", 0), ("under load", 64)):
            side = Deployed(strategy, options=["--orphan-grace", f"{GRACE}ms"])
            if bench.missing(side):
                continue
            what = f"4 workers, {title}, {side.name}"
            name = f"{what}: from SIGKILL of the master to the next one's egg-ready"
            try:
                took, refused = deaths(bench, side, what, rounds, clients)
                lines.append(Line(4, name, Samples("ms", took), at_most=AGAIN + grace))
                often = f"{what}: starts that found the address in use, {rounds} deaths"
                lines.append(Line(4, often, Samples("starts", [refused]), at_most=None if grace else 0))
            except (Failed, OSError) as error:
                bench.failures.append(bench.shown(f"master's death, {what}: {error}"))
                lines.append(Line(4, name, "failed, see below"))
            finally:
                bench.sandbox.end_all()
    return lines


def deaths(bench, side, what, rounds, clients):
    """How many milliseconds each took, and how many starts were refused meanwhile."""
    server = bench.start(side)
    side.port = server.port
    took, refused = [], 0
    for turn in range(rounds):
        say(f"master's death, {what}: {turn + 1} of {rounds}")
        # They go on where there is nobody for a while: what they miss is not what is measured.
        with crowd(side.port, {}, staying=clients, coming=clients):
            time.sleep(SETTLE / 2)
            began = now()
            os.kill(server.master, signal.SIGKILL)
            server.popen.wait()
            server.close()
            server, in_vain = side.again()
            took.append((server.ready - began) / 1e6)
            refused += in_vain
    server.close()
    return took, refused


ROWS = {"reload": reload, "upgrade": upgrade, "broken": broken, "master-death": master_death}


if __name__ == "__main__":
    run("deploys", "hatchery's deploys under load", __doc__, ROWS)
