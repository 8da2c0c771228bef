"""One server under `hello` from wrk: what is read from it, and how a table of all servers shows that."""

import statistics

from . import proc, report, wrk
from .running import Failed

CONNECTIONS = (16, 64, 512)
# Before the load that counts, in seconds: for a program, and for one that is still being compiled while it runs.
# Requests are counted for each process meanwhile.
WARM_UP, COMPILING = 0.2, 0.5
HEAD = ("server", "CPU a request", "requests/s", "p50", "p99", "p99.9", "busiest : idlest", "PSS", "failures")


def load(bench, side, server, connections, close, warm_up=WARM_UP):
    """Figures of one load. `close`: a new connection for each request."""
    usual = 0.4 if bench.quick else 1.0
    core = side.cores[1] if side.cores else None
    with side.inside(server):
        counted = wrk.run(server.port, connections, warm_up, core=core, close=close, count=True)
        pids = server.pids()
        # The second time is for a server that is still busy with being started.
        for seconds in (usual, 4 * usual):
            before = proc.cpu_seconds(pids)
            found = wrk.run(server.port, connections, seconds, core=core, close=close)
            cpu = proc.cpu_seconds(pids) - before
            if found["requests"]:
                break
        else:
            raise Failed(f"nothing was answered within {seconds} s")
    return {
        **found,
        "cpu": cpu * 1e6 / found["requests"],
        "processes": counted["processes"],
        "pss": proc.memory(pids)["Pss"],
    }


def spread(side, measured):
    """The median over the rounds of how many requests the busiest process answered for one of the idlest."""
    if side.workers < 2:
        return ""
    idle = [one for one in measured if len(one["processes"]) < side.workers]
    if len(idle) * 2 > len(measured):
        working = statistics.median_low(len(one["processes"]) for one in idle)
        return f"{working} of {side.workers} work"
    busy = [max(one["processes"]) / min(one["processes"]) for one in measured if one not in idle]
    return f"{statistics.median(busy):.2f}"


def row(side, measured):
    if isinstance(measured, str):
        return (side.name, measured, *[""] * (len(HEAD) - 2))

    def median(key):
        return report.number(statistics.median(one[key] for one in measured))

    cpu = report.Samples("us", [one["cpu"] for one in measured])
    return (
        side.name,
        cpu.shown(),
        median("rate"),
        f"{median('p50')} us",
        f"{median('p99')} us",
        f"{median('p999')} us",
        spread(side, measured),
        f"{median('pss')} MB",
        str(sum(one["failures"] for one in measured)),
    )


def keep(bench, title, found):
    """Adds what was measured of each side, or why nothing was, to the table of that load. What is there already
    stays: of hatchery, the rows that compare it with its neighbours."""
    rows = bench.loads.setdefault(title, {})
    for side, measured in found.items():
        if measured != report.UNWANTED:
            rows.setdefault(side.name, row(side, measured))
    bench.tables[f"Hello, {title}"] = report.markdown(HEAD, list(rows.values()))
