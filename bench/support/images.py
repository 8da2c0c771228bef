"""The image servers, and the pictures that are sent to them."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import threading

from . import proc
from .node import NODE_MODULES, package_version
from .running import Failed
from .rust import Hatchery, Plain
from .side import PEERS, RELEASE, Side, find_program, output

CORES = len(os.sched_getaffinity(0))
# Between two looks at the memory, in seconds.
LOOK = 0.5
# A server that takes more of the machine's memory than this is ended, before the kernel ends something else.
SHARE = 0.6


class ImageServer(Hatchery):
    """The example, with one worker or as many as there are cores."""

    product = "hatchery"

    def __init__(self, workers):
        super().__init__(workers)
        self.name = "hatchery, one worker" if workers == 1 else "hatchery, cluster"

    def environment(self, place):
        return {**super().environment(place), "IMAGES_DIR": str(place)}

    def command(self, place, port):
        argv = super().command(place, port)
        argv[0] = str(RELEASE / "examples" / "image-server")
        return argv


class OneProcess(Plain):
    """The same code in one process that uses all cores: as many flips at once as there are."""

    name = "axum::serve, one process"

    def __init__(self):
        super().__init__(threads=CORES)

    def environment(self, place):
        return {**super().environment(place), "IMAGES_DIR": str(place), "IMAGES_FLIPS": str(CORES)}

    def command(self, _place, _port):
        return [str(RELEASE / "flipping"), "--threads", str(self.threads)]


class Koa(Side):
    """Koa, its router and Jimp, in one process or in Node's cluster."""

    worker_ready = r"^worker-ready (\d+)"
    product = "Koa"

    def __init__(self, workers):
        super().__init__(workers)
        self.name = "Koa and Jimp, one process" if workers == 1 else "Koa and Jimp, cluster"

    def missing(self):
        if not find_program("node"):
            return "no node"
        return None if (NODE_MODULES / "jimp" / "package.json").exists() else "koa and jimp are not installed"

    def version(self):
        packages = " ".join(f"{name} {package_version(name)}" for name in ("koa", "@koa/router", "jimp"))
        return f"{packages}, Node {output('node', '--version')}"

    def command(self, place, port):
        script = str(PEERS / "images.js")
        return [find_program("node"), script, str(port), str(self.workers), str(place), str(NODE_MODULES)]


def raise_limits():
    """For a thousand connections, here and in whatever is started."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def generate(sandbox):
    """A picture like a photograph, of 12 million pixels and 6.7 MB."""
    path = sandbox.folder() / "photograph.jpg"
    subprocess.run([str(RELEASE / "pictures"), "generate", "--out", str(path)], check=True, timeout=300)
    return path


def send(server, picture, count, within):
    """What so many clients at once saw, and the most memory that the server had meanwhile, in megabytes."""
    argv = [str(RELEASE / "pictures"), "send", "--port", str(server.port), "--file", str(picture)]
    argv += ["--count", str(count), "--within", str(within)]
    with watched_memory(server) as seen:
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=within + 60, check=False)
    if ran.returncode != 0:
        raise Failed(f"the clients ended with code {ran.returncode}: {ran.stderr}")
    found = json.loads(ran.stdout)
    if seen["ended"]:
        found["why"] = {"ended, it had too much memory": count - found["answered"]}
    return {**found, "memory": seen["most"]}


@contextlib.contextmanager
def watched_memory(server):
    """Looks at all processes of a server until the end of the block, and ends it when it has too much."""
    seen = {"most": 0.0, "ended": False}
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * SHARE / 1e6
    over = threading.Event()

    def look():
        while not over.wait(LOOK):
            pids = server.pids()
            # One may end between two looks.
            with contextlib.suppress(OSError):
                seen["most"] = max(seen["most"], proc.memory(pids)["Pss"])
            if seen["most"] > most:
                seen["ended"] = True
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()
