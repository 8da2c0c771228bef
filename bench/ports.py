#!/usr/bin/env python3
"""One port, many processes: every strategy of hatchery against its peers.

Started by bench/run, which builds and installs what this needs. bench/README.md says what each row means.
"""

import os
import sys
import time
from collections import Counter

sys.dont_write_bytecode = True

from support import clients, hello, iptables, proc, proxied, report, wrk  # noqa: E402
from support.bench import samples  # noqa: E402
from support.command import run  # noqa: E402
from support.node import Egg, NodeCluster, NodeSingle, Pm2  # noqa: E402
from support.others import Granian, Gunicorn, Nginx, Puma  # noqa: E402
from support.report import Line, Samples  # noqa: E402
from support.rust import Clustered, Handwritten, Plain  # noqa: E402

STRATEGIES = ("round-robin", "least-connections", "weighted", "ip-hash", "shared", "reuse-port")
BY_HAND = ("round-robin", "shared", "reuse-port")
# Connections that a worker may have, and that want in, in the row about workers at their limit.
LIMIT, CLIENTS = 50, 300


def with_wrk(row, measure):
    """A row that needs wrk, or a line that says that there is none."""

    def measured(bench):
        if reason := wrk.missing():
            return [Line(row, measure.__doc__.split(": ", 1)[1], f"not measured: {reason}")]
        bench.versions["wrk"] = wrk.version()
        bench.note("wrk", wrk.command("PORT", "CONNECTIONS", wrk.LONGEST))
        bench.note("wrk, new connections", wrk.command("PORT", "CONNECTIONS", wrk.LONGEST, close=True))
        return measure(bench)

    return measured


def on_fresh_server(bench, side, measure, limit=60.0):
    server = bench.start(side, limit)
    try:
        return measure(server)
    finally:
        server.close()


def near(bench, row, kind, close, where=lambda side: side):
    """hatchery in every strategy, and those that it is hard to be better than: few percent count."""
    ours = {strategy: where(Clustered(strategy)) for strategy in STRATEGIES}
    by_hand = {strategy: where(Handwritten(strategy)) for strategy in BY_HAND}
    bare = where(Handwritten("round-robin", bare=True))
    plain = where(Plain(threads=2))
    nginx = {"shared": where(Nginx()), "reuse-port": where(Nginx(reuse_port=True))}
    # Those that are compared are neighbours in time.
    sides = [
        *(ours["round-robin"], by_hand["round-robin"], bare, ours["least-connections"], ours["weighted"], plain),
        *(ours["ip-hash"], ours["shared"], by_hand["shared"], nginx["shared"]),
        *(ours["reuse-port"], by_hand["reuse-port"], nginx["reuse-port"]),
    ]
    lines = []
    for connections in hello.CONNECTIONS:
        title = f"{kind}, {connections} connections"

        def measure(side):
            return on_fresh_server(bench, side, lambda server: hello.load(bench, side, server, connections, close))

        found = bench.alternate(title, sides, bench.rounds(6, quick=1), measure, warm_up=not bench.quick)
        hello.keep(bench, title, found)
        for strategy, side in ours.items():
            peers = [(plain, target_against_axum(strategy, close))]
            if strategy in by_hand:
                peers.append((by_hand[strategy], 1.03))
            if close and strategy in nginx:
                peers.append((nginx[strategy], 1.05))
            lines += [
                Line(
                    row,
                    f"{strategy}, {title}: CPU a request",
                    samples("us", found[side], key="cpu"),
                    peer.name,
                    samples("us", found[peer], key="cpu"),
                    ratio_at_most=target,
                )
                for peer, target in peers
            ]
    return lines


def target_against_axum(strategy, close):
    """The choice of a worker is meant to cost nothing that shows, so the one that is the default stands for
    all with a handoff."""
    if not close:
        return 1.0
    return {"shared": 0.8, "reuse-port": 0.8, "round-robin": 1.0}.get(strategy)


def keep_alive(bench):
    """1: hello on connections that stay open."""
    return near(bench, 1, "keep-alive", close=False)


def new_connections(bench):
    """2: hello on a new connection each."""
    return near(bench, 2, "new connections", close=True)


def peers(bench):
    """3: both, with those that are far away. One server has all loads, because some take long to start."""
    us, node = Clustered("round-robin"), NodeCluster(scheduling="rr")
    sides = [us, node, NodeCluster(scheduling="none"), Egg(), Pm2(), Gunicorn(threads=4), Granian(), Puma()]
    sides += [iptables.of_axum(), iptables.of_node(), proxied.of_axum(), proxied.of_node()]
    loads = {
        f"{kind}, {connections} connections": (connections, close)
        for kind, close in (("keep-alive", False), ("new connections", True))
        for connections in hello.CONNECTIONS
    }

    def measure(side):
        def all_loads(server):
            return {title: hello.load(bench, side, server, *load, hello.COMPILING) for title, load in loads.items()}

        return on_fresh_server(bench, side, all_loads)

    found = bench.alternate("peers", sides, bench.rounds(5, quick=1), measure, warm_up=False)
    lines = []
    for title, (_, close) in loads.items():
        of = {
            side: rounds if isinstance(rounds, str) else [one[title] for one in rounds]
            for side, rounds in found.items()
        }
        hello.keep(bench, title, of)
        mine, theirs = samples("us", of[us], key="cpu"), samples("us", of[node], key="cpu")
        target = 0.33 if close else None
        what = f"round-robin, {title}: CPU a request"
        lines.append(Line(3, what, mine, node.name, theirs, ratio_at_most=target))
    return lines


def rate(bench):
    """4: new connections a second with two workers behind a master that accepts, against one process."""
    us, one = Clustered("round-robin"), Plain(threads=1)
    node, one_node = NodeCluster(scheduling="rr"), NodeSingle()

    def measure(side):
        load = on_fresh_server(bench, side, lambda server: hello.load(bench, side, server, 64, close=True))
        return load["rate"]

    found = bench.alternate("rate", [us, one, node, one_node], bench.rounds(7, quick=1), measure)
    figures = {side: samples("/s", rates) for side, rates in found.items()}
    what = "new connections a second, 2 workers against one process"
    return [
        Line(4, f"{what}: round-robin", figures[us], "axum::serve, 1 thread", figures[one], ratio_at_least=1.0),
        Line(4, f"{what}: Node cluster rr in hatchery's place", figures[node], one_node.name, figures[one_node]),
    ]


def evenness(bench):
    """5: 800 connections over 8 workers: how many more the one with most has than the one with fewest."""
    us, node, shared = Clustered("round-robin", 8), NodeCluster(8, scheduling="rr"), Clustered("shared", 8)

    def measure(side):
        def difference(server):
            with clients.connections(server.port, 800) as opened:
                workers = Counter(clients.answers(opened, 800, within=20.0))
            return max(workers.values()) - (min(workers.values()) if len(workers) == side.workers else 0)

        return on_fresh_server(bench, side, difference)

    found = bench.alternate("spread", [us, node, shared], bench.rounds(5, quick=1), measure, warm_up=False)
    figures = {side: samples("connections", differences) for side, differences in found.items()}
    what = "800 connections over 8 workers, most - fewest"
    return [
        Line(5, f"{what}: round-robin", figures[us], node.name, figures[node], at_most=1),
        Line(5, f"{what}: shared", figures[shared], node.name, figures[node]),
    ]


def uneven(bench):
    """6: long-lived connections that arrive in bursts, and 1 request in 20 costs 50 ms of processor time."""
    ours = {strategy: Clustered(strategy) for strategy in STRATEGIES}
    plain, node = Plain(threads=2), NodeCluster(scheduling="rr")
    seconds = 2 if bench.quick else 4

    def measure(side):
        options = ("bursts", "--seconds", str(seconds))
        return on_fresh_server(bench, side, lambda server: clients.load(server.port, *options))

    rounds = bench.rounds(5, quick=1)
    found = bench.alternate("uneven work", [*ours.values(), plain, node], rounds, measure, warm_up=False)
    kinds = (
        ("p50", "p50 of all"),
        ("p99", "p99 of all"),
        ("cheap_p50", "p50 of the cheap"),
        ("cheap_p99", "p99 of the cheap"),
    )
    rows = []
    for side, measured in found.items():
        if measured == report.UNWANTED:
            continue
        figures = [samples("ms", measured, scale=1e-3, key=key) for key, _ in kinds]
        rows.append((side.name, *(report.said(figure) for figure in figures)))
    bench.tables["Uneven work, connections in bursts: latency"] = report.markdown(
        ("server", *(name for _, name in kinds)), rows
    )
    bench.note("load, uneven work", ["load", "--port", "PORT", "bursts", "--seconds", str(seconds)])
    comparisons = [(strategy, plain, kind) for strategy in STRATEGIES for kind in kinds[:2]]
    comparisons += [("round-robin", node, kind) for kind in kinds[:2]]
    return [
        Line(
            6,
            f"{strategy}, uneven work: {name}",
            samples("ms", found[ours[strategy]], scale=1e-3, key=key),
            peer.name,
            samples("ms", found[peer], scale=1e-3, key=key),
        )
        for strategy, peer, (key, name) in comparisons
    ]


def handoff(bench):
    """7: what it adds to one connection on an idle machine that the master accepts it and hands it over."""
    sides = {
        "hatchery": (Clustered("round-robin"), Clustered("shared")),
        "handwritten": (Handwritten("round-robin"), Handwritten("shared")),
        "Node cluster": (NodeCluster(scheduling="rr"), NodeCluster(scheduling="none")),
    }
    requests = "200" if bench.quick else "1000"

    def measure(side):
        options = ("sequential", "--requests", requests)
        return on_fresh_server(bench, side, lambda server: clients.load(server.port, *options)["p50"])

    flat = [side for pair in sides.values() for side in pair]
    found = bench.alternate("handoff", flat, bench.rounds(7, quick=1), measure, warm_up=False)
    bench.note("load, one after another", ["load", "--port", "PORT", "sequential", "--requests", requests])

    def added(pair):
        for side in pair:
            if isinstance(found[side], str):
                return found[side]
        return Samples("us", [handed - direct for handed, direct in zip(*(found[side] for side in pair))])

    extra = {name: added(pair) for name, pair in sides.items()}
    what = "connect, request, answer on an idle machine, p50"
    lines = [
        Line(7, f"{what}: added by a handoff", extra["hatchery"], name, extra[name], at_most=40)
        for name in ("Node cluster", "handwritten")
    ]
    handed, direct = sides["hatchery"]
    whole = {side: samples("us", found[side]) for side in (handed, direct)}
    return [*lines, Line(7, f"{what}: round-robin, whole", whole[handed], "hatchery shared", whole[direct])]


def limit(bench):
    """8: every worker has as many connections as it may, and more clients wait."""
    sides = [Clustered(name, options=("--max-connections", str(LIMIT))) for name in ("round-robin", "shared")]
    watched = 1.0 if bench.quick else 3.0

    def measure(side):
        def at_limit(server):
            with clients.connections(server.port, CLIENTS) as opened:
                clients.answers(opened, LIMIT * side.workers, within=10.0)
                time.sleep(0.5)
                pids = server.pids()
                master, tree = proc.cpu_seconds(pids[:1]), proc.cpu_seconds(pids)
                time.sleep(watched)
                master, tree = proc.cpu_seconds(pids[:1]) - master, proc.cpu_seconds(pids) - tree
            return {"master": master * 100 / watched, "tree": tree * 100 / watched}

        return on_fresh_server(bench, side, at_limit)

    found = bench.alternate("limit", sides, bench.rounds(5, quick=1), measure, warm_up=False)
    what = f"2 workers with {LIMIT} connections each, {CLIENTS - 2 * LIMIT} more waiting"
    unit = "% of a core"
    return [
        line
        for side in sides
        for line in (
            Line(8, f"{side.strategy}, {what}: master's CPU", samples(unit, found[side], key="master"), at_most=1),
            Line(8, f"{side.strategy}, {what}: all processes' CPU", samples(unit, found[side], key="tree")),
        )
    ]


def apart(bench):
    """9: hello on connections that stay open, with the clients on a core of their own, the server on another."""
    return separated(bench, 9, "keep-alive", close=False)


def apart_new_connections(bench):
    """10: the same on a new connection each."""
    return separated(bench, 10, "new connections", close=True)


def separated(bench, row, kind, close):
    if (os.cpu_count() or 1) < 2:
        return [Line(row, f"{kind}, clients apart", "not measured: it takes two cores")]
    return near(bench, row, f"{kind}, clients on another core", close, where=lambda side: side.apart())


ROWS = {
    "keep-alive": with_wrk(1, keep_alive),
    "new-connections": with_wrk(2, new_connections),
    "peers": with_wrk(3, peers),
    "rate": with_wrk(4, rate),
    "spread": evenness,
    "uneven": uneven,
    "handoff": handoff,
    "limit": limit,
    "apart": with_wrk(9, apart),
    "apart-new-connections": with_wrk(10, apart_new_connections),
}


if __name__ == "__main__":
    run("ports", "hatchery's strategies against their peers", __doc__, ROWS)
