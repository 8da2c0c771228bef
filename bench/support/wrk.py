"""Load from wrk, on keep-alive connections."""

import os
import re
import subprocess

from .running import Failed
from .sides import find_program, output, unpacked_libraries

UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


def missing():
    return None if find_program("wrk") else "wrk is not installed"


def version():
    first = output(find_program("wrk"), "-v").splitlines()
    return first[0].split(" Copyright")[0] if first else ""


def command(port, connections, seconds):
    # One thread: on a small machine a second one only takes time from the server.
    argv = [find_program("wrk"), "--threads", "1", "--connections", str(connections)]
    return [*argv, "--duration", f"{seconds}s", "--latency", f"http://127.0.0.1:{port}/"]


def run(port, connections, seconds):
    """Requests in all, and requests a second, p50 and p99 in microseconds."""
    env = {**os.environ, "LD_LIBRARY_PATH": unpacked_libraries()}
    argv = command(port, connections, seconds)
    try:
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 20, env=env, check=True)
    except subprocess.SubprocessError as error:
        raise Failed(f"wrk: {error}") from error
    text = ran.stdout
    if "Socket errors" in text or "Non-2xx" in text:
        raise Failed(f"wrk met errors: {text}")
    return {
        "requests": int(re.search(r"(\d+) requests in", text)[1]),
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
        "p50": _percentile(text, 50),
        "p99": _percentile(text, 99),
    }


def _percentile(text, which):
    number, unit = re.search(rf"^\s+{which}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE).groups()
    return float(number) * UNITS[unit]
