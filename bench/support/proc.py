"""What /proc says about processes: who descends from whom, their memory and their time on a processor."""

import os
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid):
    """The fields of /proc/PID/stat from the state on (proc(5) counts from 1, and the state is the third)."""
    text = (PROC / str(pid) / "stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def descendants(root):
    """All processes below `root`, parents before children, zombies left out."""
    children = {}
    for entry in os.listdir(PROC):
        if not entry.isdigit():
            continue
        try:
            state, parent = _stat(entry)[:2]
        except (OSError, ValueError):
            continue
        if state not in "ZX":
            children.setdefault(int(parent), []).append(int(entry))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(0), [])
        found += below
        todo += below
    return found


def cpu_seconds(pids):
    """User and system time of all threads so far.

    From schedstat, in nanoseconds; where a kernel has none, utime + stime of stat, which is the same
    rounded down to 10 ms.
    """
    total = 0.0
    for pid in pids:
        try:
            tasks = list((PROC / str(pid) / "task").iterdir())
            total += sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
        except FileNotFoundError:
            utime, stime = _stat(pid)[11:13]
            total += (int(utime) + int(stime)) / TICKS
    return total


def memory(pids):
    """Sums over processes, in megabytes (10^6 bytes): proportional, private and resident."""
    sums = {"Pss": 0, "Private": 0, "Rss": 0}
    for pid in pids:
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
            name, kib = line.split()[:2]
            name = "Private" if name.startswith(("Private_Clean", "Private_Dirty")) else name.rstrip(":")
            if name in sums:
                sums[name] += int(kib) * 1024 / 1e6
    return sums
