#!/usr/bin/env python3
"""Which of 8 workers get the connections, in every strategy and in Node's cluster; figures, and bars as SVG.

Started by bench/run, which builds and installs what this needs. bench/README.md says what each row means.
"""

import socket
import sys
import threading
from collections import Counter

sys.dont_write_bytecode = True

from support import drawing, report  # noqa: E402
from support.clients import REQUEST, answers, connections  # noqa: E402
from support.command import run  # noqa: E402
from support.node import NodeCluster  # noqa: E402
from support.report import Line  # noqa: E402
from support.running import Failed  # noqa: E402
from support.rust import Clustered  # noqa: E402

STRATEGIES = ("round-robin", "least-connections", "weighted", "ip-hash", "shared", "reuse-port")
WORKERS = 8
BURN = REQUEST.replace(b"/whoami", b"/burn")
# One connection in so many has a request that costs 50 ms first.
EXPENSIVE = 20
AT_ONCE = 32


def client(number):
    """Clients have 200 addresses of the loopback network, so that a strategy may go by them."""
    return (f"127.0.1.{1 + number % 200}", 0)


def whole(connection):
    """One answer of HTTP/1.1 with a length, or with one chunk."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(4096) or fail("a connection was closed")
    head, body = answer.split(b"\r\n\r\n", 1)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    if b"content-length" in fields:
        while len(body) < int(fields[b"content-length"]):
            body += connection.recv(4096) or fail("an answer was cut off")
        return body
    while not body.endswith(b"0\r\n\r\n"):
        body += connection.recv(4096) or fail("an answer was cut off")
    return body.split(b"\r\n")[1]


def fail(why):
    raise Failed(why)


def who(port, number, expensive=False):
    """Which process answers on a new connection."""
    with socket.create_connection(("127.0.0.1", port), 30, client(number)) as connection:
        if expensive:
            connection.sendall(BURN)
            whole(connection)
        connection.sendall(REQUEST)
        return whole(connection)


def sequential(port, number):
    return [who(port, index) for index in range(number)]


def burst(port, number):
    with connections(port, number, client) as opened:
        return answers(opened, number, within=60.0)


def uneven(port, number):
    found, failed = [], []

    def clients(first):
        try:
            for index in range(first, number, AT_ONCE):
                found.append(who(port, index, index % EXPENSIVE == 0))
        except (OSError, Failed) as error:
            failed.append(error)

    threads = [threading.Thread(target=clients, args=(first,)) for first in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return fail(f"a client failed: {failed[0]}") if failed else found


UNEVEN = "32 at a time, uneven work"
LOADS = {"one after another": sequential, "all at once": burst, UNEVEN: uneven}


def most_of(counts, workers):
    """The share of the busiest workers."""
    return 100 * sum(sorted(counts)[-workers:]) / sum(counts)


def spread(counts):
    """How many more the busiest has than the idlest."""
    return report.Samples("connections", [max(counts) - min(counts)]) if counts else "not measured"


def distribution(bench):
    """1: each load once on a fresh server of each side."""
    number = 160 if bench.quick else 800
    sides = [Clustered(strategy, WORKERS) for strategy in STRATEGIES]
    sides += [NodeCluster(WORKERS, scheduling=policy) for policy in ("rr", "none")]
    counts, lines, rows = {}, [], []
    for load, make in LOADS.items():

        def measure(side, make=make):
            server = bench.start(side)
            try:
                shares = Counter(make(server.port, number))
            finally:
                server.close()
            # Those that got nothing have no name.
            return sorted([*shares.values(), *[0] * (WORKERS - len(shares))], reverse=True)

        found = bench.alternate(load, sides, 1, measure, warm_up=False)
        for side in sides:
            measured = found[side]
            if measured == report.UNWANTED:
                continue
            if isinstance(measured, str) or not measured:
                rows.append((side.name, load, "not measured", "", ""))
                continue
            counts[side.name, load] = measured[0]
            top = f"{most_of(measured[0], 3):.0f} %"
            rows.append((side.name, load, " ".join(map(str, measured[0])), top, f"{max(measured[0]) - min(measured[0])}"))
    title = f"{number} connections over {WORKERS} workers"
    headings = ("server", "load", "connections of each worker", "the 3 busiest have", "most - fewest")
    bench.tables[title] = report.markdown(headings, rows)
    servers = list(dict.fromkeys(server for server, _ in counts))
    bench.drawing = drawing.bars(title, list(LOADS), servers, counts)
    us, node = sides[0], sides[len(STRATEGIES)]
    for load in LOADS:
        if (us.name, load) in counts:
            # Who is busy for long is late, and others get what it does not take.
            target = {} if load == UNEVEN else {"at_most": 1}
            what = f"{us.name}, {load}: most - fewest"
            lines.append(Line(1, what, spread(counts[us.name, load]), node.name, spread(counts.get((node.name, load))), **target))
    return lines


if __name__ == "__main__":
    run("distribution", "Who gets the connections", __doc__, {"distribution": distribution})
