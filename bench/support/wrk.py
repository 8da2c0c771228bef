"""Load from wrk, on connections that stay open or on a new one for each request."""

import json
import os
import signal
import subprocess
from pathlib import Path

from .running import Failed
from .side import find_program, on_core, output, unpacked_libraries

SCRIPT = Path(__file__).with_suffix(".lua")
# wrk counts in whole seconds. It is told to stop before this is over.
LONGEST = 60


def missing():
    return None if find_program("wrk") else "wrk is not installed"


def version():
    first = output(find_program("wrk"), "-v").splitlines()
    return first[0].split(" Copyright")[0] if first else ""


def command(port, connections, seconds, close=False, count=False):
    # One thread: on a small machine a second one only takes time from the server.
    argv = [find_program("wrk"), "--threads", "1", "--connections", str(connections)]
    argv += ["--duration", f"{seconds}s", "--script", str(SCRIPT)]
    if close:
        argv += ["--header", "Connection: close"]
    url = f"http://127.0.0.1:{port}/"
    return [*argv, f"{url}whoami", "--", "count"] if count else [*argv, url]


def run(port, connections, seconds, core=None, **how):
    """Requests in all, requests a second; p50, p99 and p99.9 in microseconds; failures in all; the number of
    requests that each process answered, if they are counted.

    Latency is from sending a request to its answer: connecting does not count.
    """
    env = {**os.environ, "LD_LIBRARY_PATH": unpacked_libraries()}
    argv = command(port, connections, LONGEST, **how)
    if core is not None:
        argv = on_core(core, argv)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                # It stops, and reports on the time it had.
                process.send_signal(signal.SIGINT)
            said, complaint = process.communicate(timeout=20)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"wrk: {error}") from error
        finally:
            process.kill()
    lines = [line for line in said.splitlines() if line.startswith("{")]
    if not lines:
        raise Failed(f"wrk: {(complaint or said).strip()}")
    found = json.loads(lines[-1])
    return {
        **{key: found[key] for key in ("requests", "p50", "p99", "p999")},
        "rate": found["requests"] / (found["us"] / 1e6),
        "failures": found["refused"] + found["broken"] + found["timeouts"] + found["status"],
        "processes": list(found["bodies"].values()),
    }
