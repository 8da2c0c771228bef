#!/usr/bin/env python3
"""Processes that talk to each other, against Node's cluster.

Started by bench/run, which builds and installs what this needs. bench/README.md says what each row means.
"""

import contextlib
import http.client
import os
import signal
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True

from support import proc, report, wrk  # noqa: E402
from support.bench import samples  # noqa: E402
from support.command import run  # noqa: E402
from support.node import NodeMessages  # noqa: E402
from support.report import Line  # noqa: E402
from support.rust import Messages  # noqa: E402
from support.running import Failed  # noqa: E402


def ask(server, path, seconds=60):
    """What one measurement inside the server says."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=seconds) as answer:
            return float(answer.read())
    except (OSError, ValueError) as error:
        raise Failed(f"{path}: {error}") from error


def said(client, path):
    """The same, on a connection that stays open."""
    try:
        client.request("GET", path)
        return float(client.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Failed(f"{path}: {error}") from error


def on_fresh_server(bench, side, measure):
    server = bench.start(side)
    try:
        return measure(server)
    finally:
        server.close()


def against_node(bench, row, name, what, unit, workers, path, usual, **target):
    """A row whose two sides answer the same question."""
    sides = [Messages(workers), NodeMessages(workers)]

    def measure(side):
        return on_fresh_server(bench, side, lambda server: ask(server, path))

    found = bench.alternate(name, sides, bench.rounds(usual, quick=1), measure)
    ours, theirs = (samples(unit, found[side]) for side in sides)
    return [Line(row, what, ours, "Node cluster", theirs, **target)]


def broadcast(bench):
    """1: deliveries a second."""
    seconds = 1 if bench.quick else 3
    what = "100 bytes from a worker to all of 4: deliveries"
    return against_node(bench, 1, "broadcast", what, "/s", 4, f"/broadcast/{seconds}", 7, ratio_at_least=5)


def echo(bench):
    """2: there and back."""
    count = 2000 if bench.quick else 20000
    what = "request and answer, p50: worker and agent; worker and primary"
    return against_node(bench, 2, "echo", what, "us", 1, f"/echo/{count}", 7, ratio_at_most=1)


def large(bench):
    """3: payloads of 1 MiB."""
    seconds = 1 if bench.quick else 3
    what = "payloads of 1 MiB from a worker to another process"
    return against_node(bench, 3, "large", what, "/s", 2, f"/large/{seconds}", 7, ratio_at_least=5)


def flood(bench):
    """4: requests that others serve while one worker floods another."""
    if reason := wrk.missing():
        return [Line(4, "keep-alive while a worker floods another", f"not measured: {reason}")]
    side = Messages(4)

    def loaded(server):
        """Requests a second, and on how many processors the cluster was meanwhile."""
        cpu, began = proc.cpu_seconds(server.pids()), time.monotonic()
        rate = wrk.run(server.port, 16, 2.0)["rate"]
        return rate, (proc.cpu_seconds(server.pids()) - cpu) / (time.monotonic() - began)

    def measure(_side):
        def quiet_and_flooded(server):
            quiet, quiet_cpus = loaded(server)
            with ThreadPoolExecutor(1) as flooder:
                flooding = flooder.submit(ask, server, "/flood/5")
                flooded, flooded_cpus = loaded(server)
            # A flood that failed would leave quiet to be compared with quiet.
            if flooding.result() <= 0:
                raise Failed("/flood/5: nothing was sent")
            return {"quiet": quiet, "flooded": flooded, "quiet_cpus": quiet_cpus, "flooded_cpus": flooded_cpus}

        return on_fresh_server(bench, side, quiet_and_flooded)

    found = bench.alternate("flood", [side], bench.rounds(5, quick=1), measure, warm_up=False)[side]
    what = "hello on 16 connections while one of 4 workers floods another: requests"
    rates = [samples("/s", found, key=key) for key in ("flooded", "quiet")]
    cpus = [samples("CPUs", found, key=key) for key in ("flooded_cpus", "quiet_cpus")]
    there = len(os.sched_getaffinity(0))
    return [
        Line(4, what, rates[0], "the same, quiet", rates[1], ratio_at_least=0.9),
        Line(4, f"processors that the cluster was on, of {there}, which wrk takes its own from", cpus[0], "the same, quiet", cpus[1]),
    ]


def stopped(bench):
    """5: what the master holds for a worker that does not read."""
    side = Messages(2)

    def measure(_side):
        def growth(server):
            # The one that answers here goes on to do so when the other one is stopped.
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as client:
                sender = int(said(client, "/whoami"))
                workers = {sender}
                while len(workers) < side.workers:
                    workers.add(int(ask(server, "/whoami")))
                (reader,) = workers - {sender}
                master = server.pids()[0]
                before = proc.memory([master])["Rss"]
                os.kill(reader, signal.SIGSTOP)
                try:
                    said(client, "/flood/1")
                    return proc.memory([master])["Rss"] - before
                finally:
                    os.kill(reader, signal.SIGCONT)

        return on_fresh_server(bench, side, growth)

    found = bench.alternate("stopped", [side], bench.rounds(5, quick=1), measure, warm_up=False)
    what = "flood to a stopped worker, `message_queue` of 1 MiB: growth of the master"
    return [Line(5, what, samples("MB", found[side]), at_most=4)]


def adds(bench):
    """6: a counter that two workers share, as fast as it goes."""
    seconds = 1 if bench.quick else 3
    what = "one counter for 2 workers, 16 additions of each under way"
    return against_node(bench, 6, "adds", what, "/s", 2, f"/adds/{seconds}", 7)


def add(bench):
    """7: one addition."""
    count = 2000 if bench.quick else 20000
    return against_node(bench, 7, "add", "one addition to that counter, p50", "us", 2, f"/add/{count}", 7)


def latest(bench):
    """8: what is followed is here already."""
    side = Messages(1)
    count = 1_000_000

    def measure(_side):
        return on_fresh_server(bench, side, lambda server: ask(server, f"/latest/{count}"))

    found = bench.alternate("latest", [side], bench.rounds(7, quick=1), measure)[side]
    return [Line(8, "a value that a worker follows: to read it", samples("ns", found))]


def invoke(bench):
    """9: a call of the client in the agent, against the plainest message there and back."""
    count = 2000 if bench.quick else 20000
    sides = [Messages(1), NodeMessages(1)]
    paths = {sides[0]: f"/invoke/{count}", sides[1]: f"/echo/{count}"}

    def measure(side):
        return on_fresh_server(bench, side, lambda server: ask(server, paths[side]))

    found = bench.alternate("invoke", sides, bench.rounds(7, quick=1), measure)
    ours, theirs = (samples("us", found[side]) for side in sides)
    what = "`invoke` of a leader, p50; a message to the primary and back"
    return [Line(9, what, ours, "Node cluster", theirs)]


ROWS = {
    "broadcast": broadcast,
    "echo": echo,
    "large": large,
    "flood": flood,
    "stopped": stopped,
    "adds": adds,
    "add": add,
    "latest": latest,
    "invoke": invoke,
}


if __name__ == "__main__":
    run("messages", "hatchery's messages against Node's", __doc__, ROWS)
