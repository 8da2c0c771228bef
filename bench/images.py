#!/usr/bin/env python3
"""Pictures that are turned upside down: the example image-server against Koa and Jimp.

Started by bench/run, which builds and installs what this needs. bench/README.md says what each row means.
"""

import sys

sys.dont_write_bytecode = True

from support import images, report  # noqa: E402
from support.command import run  # noqa: E402
from support.report import Line, Samples  # noqa: E402

# How long clients wait, in seconds. Whoever has no answer then is counted as one without.
WITHIN = 900
KINDS = ("first", "median", "last")
# What a worker may have by its settings, which are the defaults here: a flip at a time, of a file of 20 MiB that is in memory twice and
# 256 MiB of pixels that may be there three times. In megabytes, whoever and how many come.
MOST = (2 * 20 + 3 * 256) * 1.048576


def sides():
    cluster = images.ImageServer(images.CORES)
    return [
        cluster,
        images.ImageServer(1),
        images.OneProcess(),
        images.Koa(images.CORES),
        images.Koa(1),
    ]


def at_once(bench, row, count, usual):
    """So many clients at once, each with one picture."""
    images.raise_limits()
    all_sides = sides()
    picture = images.generate(bench.sandbox)

    def measure(side):
        server = bench.start(side)
        try:
            return images.send(server, picture, count, WITHIN)
        finally:
            server.close()

    found = bench.alternate(f"{count} pictures", all_sides, bench.rounds(usual, quick=1), measure, warm_up=False)
    bench.note(f"load, {count} pictures", ["pictures", "send", "--port", "PORT", "--file", "FILE", "--count", str(count)])
    rows = [table_row(side, found[side]) for side in all_sides if found[side] != report.UNWANTED]
    head = ("server", "first", "median", "last", "memory at most", "not answered")
    bench.tables[f"{count} pictures of 6.7 MB at once"] = report.markdown(head, rows)
    ours = all_sides[:3]
    note_failures(bench, {side: found[side] for side in ours}, count)
    cluster, one_worker, one_process, koa_cluster, koa = all_sides
    last = {side: times(found[side], "last") for side in all_sides}
    what = f"{count} pictures at once: last answer"
    targets = {"ratio_at_most": 0.2}
    most = {side: memory(found[side]) for side in (cluster, koa_cluster)}
    held = f"{count} pictures at once: memory at most"
    return [
        Line(row, what, last[cluster], koa_cluster.name, last[koa_cluster], **targets),
        Line(row, what, last[cluster], one_process.name, last[one_process], ratio_at_most=1.1),
        Line(row, f"{what}, one worker", last[one_worker], koa.name, last[koa], **targets),
        Line(row, held, most[cluster], koa_cluster.name, most[koa_cluster], at_most=cluster.workers * MOST),
    ]


def times(measured, kind):
    """In seconds. One that did not come is cut off at the end of the clients' patience."""
    if isinstance(measured, str):
        return measured
    return Samples("s", [each[kind] for each in measured], limit=WITHIN, late="not there")


def memory(measured):
    if isinstance(measured, str):
        return measured
    return Samples("MB", [each["memory"] for each in measured])


def table_row(side, measured):
    if isinstance(measured, str):
        return (side.name, measured, *[""] * 4)
    return (side.name, *(times(measured, kind).shown() for kind in KINDS), memory(measured).shown(), not_answered(measured))


def not_answered(measured):
    """How many of all rounds, and why not."""
    why = {}
    for each in measured:
        for reason, number in each["why"].items():
            why[reason] = why.get(reason, 0) + number
    return ", ".join(f"{number}: {reason}" for reason, number in why.items()) or "none"


def note_failures(bench, found, count):
    """Clients that were not answered, by servers that should answer all."""
    for side, measured in found.items():
        for each in measured if not isinstance(measured, str) else []:
            if each["why"]:
                bench.failures.append(f"{count} pictures, {side.name}: {each['why']}")


def ten(bench):
    """1: as many as the article sends."""
    return at_once(bench, 1, 10, 5)


def hundred(bench):
    """2: ten times as many."""
    return at_once(bench, 2, 100, 1)


def thousand(bench):
    """3: more than any of them can hold at once."""
    return at_once(bench, 3, 1000, 1)


ROWS = {"ten": ten, "hundred": hundred, "thousand": thousand}


if __name__ == "__main__":
    run("images", "hatchery's image server against Koa and Jimp", __doc__, ROWS)
