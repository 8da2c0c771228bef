"""Single processes behind one port, shared out by iptables' statistic mode: no cluster, no master.

The rules need privileges and cost everybody on the same network stack, so they live in a network namespace of
their own, and so must whoever talks to the processes.
"""

import contextlib
import ctypes
import os
import subprocess
import tempfile
from pathlib import Path

from .side import PEERS, RELEASE, SCRATCH, Side, environment, find_program, output, unpacked_libraries

CLONE_NEWNET = 0x40000000
# In a namespace where nobody else is.
PORT = 7000


@contextlib.contextmanager
def entered(pid):
    """This thread, and what it starts, in the network namespace of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        _enter(libc, there)
        try:
            yield
        finally:
            _enter(libc, home)
    finally:
        os.close(there)
        os.close(home)


def _enter(libc, namespace):
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Iptables(Side):
    """`what`: the name of the processes, and their command line, which ends before the port."""

    ready = r"^rules-ready (\d+)"

    def __init__(self, what, argv, workers=2):
        super().__init__(workers)
        self.argv = argv
        self.name = f"iptables, {workers} x {what}"

    def program(self):
        """As in the article's time first. Both do the same rules."""
        found = (find_program(name) for name in ("iptables-legacy", "iptables-nft", "iptables"))
        return next((program for program in found if program), None)

    def missing(self):
        for tool in ("ip", "unshare"):
            if not find_program(tool):
                return f"no {tool}"
        if not self.program():
            return "iptables is not installed"
        return self._refusal()

    def _refusal(self):
        """What this machine says to the rules, in a namespace that ends at once."""
        argv = ["unshare", "--net", "sh", str(PEERS / "iptables.sh"), str(PORT), "1", "true"]
        try:
            with tempfile.TemporaryDirectory() as place:
                env = self.environment(place)
                subprocess.run(argv, env=env, capture_output=True, text=True, timeout=20, check=True)
        except subprocess.CalledProcessError as error:
            return error.stderr.strip().replace("\n", "; ") or str(error)
        except (OSError, subprocess.SubprocessError) as error:
            return str(error)
        return None

    def version(self):
        return output(self.program(), "--version")

    def environment(self, place):
        env = {**environment(place), "IPTABLES": self.program(), "XTABLES_LOCKFILE": f"{place}/xtables.lock"}
        env["PATH"] += ":/usr/sbin:/sbin"
        if Path(self.program()).is_relative_to(SCRATCH):
            libraries = unpacked_libraries()
            env |= {"LD_LIBRARY_PATH": libraries, "XTABLES_LIBDIR": f"{libraries}/xtables"}
        return env

    def inside(self, server):
        return entered(server.master)

    def ports(self, server):
        return [server.port + number for number in range(self.workers + 1)]

    def command(self, _place, _port):
        script = [str(PEERS / "iptables.sh"), str(PORT), str(self.workers)]
        return ["unshare", "--net", "sh", *script, *self.argv]


def of_axum(workers=2):
    return Iptables("axum::serve", [str(RELEASE / "plain"), "--threads", "1", "--port"], workers)


def of_node(workers=2):
    return Iptables("Node", [find_program("node") or "node", str(PEERS / "single.js")], workers)
