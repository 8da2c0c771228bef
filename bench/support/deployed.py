"""hatchery as it is deployed: a program of its own that is replaced, commands, and clients meanwhile."""

import contextlib
import json
import os
import shutil
import subprocess

from .running import Failed, Running, now
from .rust import Clustered
from .side import RELEASE

# The code of a start whose address somebody else has.
ADDRESS_IN_USE = 5


class Deployed(Clustered):
    """The benchmark's application at a path of its own."""

    def __init__(self, strategy, workers=4, options=()):
        super().__init__(strategy, workers, options)
        self.place = None
        # Any, unless something is to be started again.
        self.port = 0
        self.starts = 0

    def prepare(self, place, port):
        self.place = place
        self.deploy("clustered")

    def deploy(self, program):
        """Puts a build in place, as an operator does: beside it, then renamed."""
        beside = self.place / "app.new"
        shutil.copy(RELEASE / program, beside)
        os.rename(beside, self.place / "app")

    def announcements(self, place):
        return place / f"events-{self.starts}"

    def command(self, place, _port):
        argv = super().command(place, _port)
        argv[0] = str(place / "app")
        argv[argv.index("127.0.0.1:0")] = f"127.0.0.1:{self.port}"
        argv[argv.index("--events") + 1] = str(self.announcements(place))
        return argv

    def again(self, limit=60.0):
        """Starts the same once more, as a supervisor does whose child has ended, until the address can be had.
        Returns what runs then, and how many starts were refused before it."""
        deadline, refused, place = now() + int(limit * 1e9), 0, self.place
        while True:
            self.starts += 1
            argv, announcements = self.command(place, None), self.announcements(place)
            server = Running(argv, self.environment(place), place, announcements)
            server.workers = []
            try:
                server.announced(lambda line, server=server: self._hear(server, line), limit)
            except Failed:
                if server.popen.poll() != ADDRESS_IN_USE or now() > deadline:
                    raise
                server.close()
                refused += 1
            else:
                server.ready = server.read_at
                return server, refused

    def order(self, *words):
        """Runs a command of the application's. Returns its exit code and how many milliseconds it took."""
        argv = [str(RELEASE / "clustered"), *words, "--runtime-dir", str(self.place / "run")]
        began = now()
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        return ran.returncode, (now() - began) / 1e6

    def succeed(self, *words):
        code, took = self.order(*words)
        if code != 0:
            raise Failed(f"{' '.join(words)} ended with code {code}")
        return took


@contextlib.contextmanager
def crowd(port, seen, staying=64, coming=64):
    """Clients that do not rest meanwhile. What they saw is in `seen` afterwards."""
    argv = [str(RELEASE / "crowd"), "--port", str(port), "--staying", str(staying), "--coming", str(coming)]
    clients = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        said, _ = clients.communicate(timeout=60)
    if clients.returncode != 0:
        raise Failed(f"the clients ended with code {clients.returncode}")
    seen.update(json.loads(said))
