"""What every side of a comparison is: how it is found, started, and heard to be ready."""

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from .running import Running, answers, free_port, now

BENCH = Path(__file__).resolve().parent.parent
REPO = BENCH.parent
PEERS = BENCH / "peers"
SCRATCH = BENCH / "scratch"
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR") or REPO / "target").resolve() / "release"


def unpacked_libraries():
    """Where the libraries of unpacked Debian packages are."""
    return ":".join(str(path) for path in (SCRATCH / "apt" / "usr" / "lib").glob("*-linux-gnu"))


def find_program(name):
    path = ":".join(
        [os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *(str(SCRATCH / "apt/usr" / d) for d in ("bin", "sbin"))]
    )
    return shutil.which(name, path=path)


def environment(place):
    """The same small environment for everybody, without settings of whoever runs this."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(place),
        "LANG": "C.UTF-8",
        "NODE_ENV": "production",
        "EGG_SERVER_ENV": "prod",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def output(*argv, env=None):
    """What a program says, on whichever stream. Empty if it cannot be run."""
    env = {**os.environ, "LD_LIBRARY_PATH": unpacked_libraries(), **(env or {})}
    try:
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=20, env=env, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (ran.stdout + ran.stderr).strip()


def on_core(core, command):
    return ["taskset", "--cpu-list", str(core), *command]


class Side:
    """A server. `ready` finds the line that says that all is ready, `worker_ready` the pid in the line
    that says so of one worker; a side without either is ready when it answers."""

    name = ""
    # What `version` is the version of, where several sides are one product.
    product = None
    ready = None
    worker_ready = None
    # The core that all its processes share, and the one that its clients have, if they are kept apart.
    cores = None

    def __init__(self, workers=2):
        self.workers = workers

    def apart(self, server=0, clients=1):
        """Keeps it from the core that its clients have, as if they were on other machines."""
        self.cores = (server, clients)
        return self

    def missing(self):
        """Why it cannot be run, or None."""
        return None

    def version(self):
        return ""

    def command(self, place, port):
        """Its command line."""
        raise NotImplementedError

    def folder(self, _place):
        """Where it is started."""
        return PEERS

    def announcements(self, _place):
        """A pipe for announcements, if they do not come on standard output."""
        return None

    def environment(self, place):
        return environment(place)

    def prepare(self, place, port):
        """Writes what it needs."""

    def inside(self, _server):
        """What must surround everything that talks to it."""
        return contextlib.nullcontext()

    def ports(self, server):
        """What must answer before it counts as started."""
        return [server.port]

    def start(self, sandbox, limit=60.0):
        place, port = sandbox.folder(), free_port()
        self.prepare(place, port)
        command = self.command(place, port)
        if self.cores:
            command = on_core(self.cores[0], command)
        server = Running(command, self.environment(place), self.folder(place), self.announcements(place))
        server.port = port
        server.workers = []
        if self.ready or self.worker_ready:
            server.announced(lambda line: self._hear(server, line), limit)
            server.ready = server.read_at
        with self.inside(server):
            for each in self.ports(server):
                answers(each, limit)
        if server.ready is None:
            server.ready = now()
        return server

    def _hear(self, server, line):
        if self.worker_ready and (found := re.search(self.worker_ready, line)):
            server.workers.append(int(found[1]))
        if not self.ready:
            return True if len(server.workers) == self.workers else None
        if found := re.search(self.ready, line):
            server.port = int(found[1])
            return True
        return None

    def replacement(self, server, limit=30.0):
        """Waits until a worker is ready that was not there before. Returns when that was."""
        before = set(server.workers)

        def another(line):
            found = re.search(self.worker_ready, line)
            return True if found and int(found[1]) not in before else None

        return server.announced(another, limit)[1]
