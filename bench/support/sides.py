"""What is compared: how each is started and how it says that it is ready."""

import json
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
NODE_MODULES = SCRATCH / "npm" / "node_modules"
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


def output(*argv):
    """What a program says, on whichever stream. Empty if it cannot be run."""
    env = {**os.environ, "LD_LIBRARY_PATH": unpacked_libraries()}
    try:
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=20, env=env, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (ran.stdout + ran.stderr).strip()


class Side:
    """A server. `ready` finds the line that says that all is ready, `worker_ready` the pid in the line
    that says so of one worker; a side without either is ready when it answers."""

    name = ""
    ready = None
    worker_ready = None

    def __init__(self, workers=2):
        self.workers = workers

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

    def prepare(self, place, port):
        """Writes what it needs."""

    def start(self, sandbox, limit=60.0):
        place, port = sandbox.folder(), free_port()
        self.prepare(place, port)
        server = Running(
            self.command(place, port), environment(place), self.folder(place), self.announcements(place)
        )
        server.port = port
        server.workers = []
        if self.ready or self.worker_ready:
            server.announced(lambda line: self._hear(server, line), limit)
            server.ready = server.read_at
        answers(server.port, limit)
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


class Hatchery(Side):
    name = "hatchery"
    ready = r'"event":"egg-ready".*"reason":"[^"]*:(\d+)'
    worker_ready = r'"event":"worker-ready".*"pid":(\d+)'

    def __init__(self, workers=2, threads=1):
        super().__init__(workers)
        self.threads = threads

    def version(self):
        revision = output("git", "-C", str(REPO), "describe", "--always", "--dirty")
        return revision.splitlines()[0] if revision else "unknown revision"

    def announcements(self, place):
        return place / "events"

    def command(self, place, _port):
        argv = [str(RELEASE / "examples" / "hello"), "--workers", str(self.workers), "--threads", str(self.threads)]
        argv += ["--listen", "127.0.0.1:0", "--runtime-dir", str(place / "run")]
        return [*argv, "--events", str(place / "events"), "--log-level", "warn"]


class Plain(Side):
    name = "axum::serve"
    ready = r"^ready 127\.0\.0\.1:(\d+)"

    def __init__(self, threads=1):
        super().__init__(workers=1)
        self.threads = threads

    def command(self, _place, _port):
        return [str(RELEASE / "plain"), "--threads", str(self.threads), "--port", "0"]


def package_version(name):
    return json.loads((NODE_MODULES / name / "package.json").read_text())["version"]


class Egg(Side):
    """The master that `egg-scripts start` runs, without that command in front of it."""

    name = "Egg"
    ready = r"\[master\] egg started on http://127\.0\.0\.1:(\d+)"
    worker_ready = r"\[master\] app_worker#\d+:(\d+) started at "

    def missing(self):
        if not find_program("node"):
            return "no node"
        return None if (NODE_MODULES / "egg" / "package.json").exists() else "egg is not installed"

    def version(self):
        packages = " ".join(f"{name} {package_version(name)}" for name in ("egg", "egg-cluster", "egg-scripts"))
        return f"{packages}, Node {output('node', '--version')}"

    def prepare(self, place, _port):
        shutil.copytree(PEERS / "egg", place / "app")

    def folder(self, place):
        return place / "app"

    def command(self, place, port):
        options = {
            "framework": str(NODE_MODULES / "egg"),
            "baseDir": str(place / "app"),
            "workers": self.workers,
            "hostname": "127.0.0.1",
            "port": port,
            "env": "prod",
        }
        script = NODE_MODULES / "egg-scripts" / "lib" / "start-cluster"
        return [find_program("node"), str(script), json.dumps(options)]


class NodeCluster(Side):
    name = "Node cluster"
    worker_ready = r"^worker-ready (\d+)"

    def missing(self):
        return None if find_program("node") else "no node"

    def version(self):
        return f"Node {output('node', '--version')}"

    def command(self, _place, port):
        return [find_program("node"), str(PEERS / "cluster.js"), str(port), str(self.workers)]


class Gunicorn(Side):
    name = "gunicorn"
    worker_ready = r"^worker-ready (\d+)"
    program = SCRATCH / "pypi" / "bin" / "gunicorn"

    def missing(self):
        return None if self.program.exists() else "gunicorn is not installed"

    def version(self):
        python = output(str(SCRATCH / "pypi" / "bin" / "python"), "--version")
        return f"{output(str(self.program), '--version')}, {python}, sync workers"

    def command(self, _place, port):
        argv = [str(self.program), "--config", str(PEERS / "gunicorn.conf.py"), "--workers", str(self.workers)]
        return [*argv, "--bind", f"127.0.0.1:{port}", "--log-level", "warning", "hello:app"]


class Granian(Side):
    name = "Granian"
    program = SCRATCH / "pypi" / "bin" / "granian"

    def missing(self):
        return None if self.program.exists() else "granian is not installed"

    def version(self):
        return output(str(self.program), "--version")

    def command(self, _place, port):
        argv = [str(self.program), "--interface", "wsgi", "--workers", str(self.workers), "--host", "127.0.0.1"]
        return [*argv, "--port", str(port), "--log-level", "warning", "hello:app"]


class Nginx(Side):
    name = "nginx"

    def missing(self):
        return None if find_program("nginx") else "nginx is not installed"

    def version(self):
        return output(find_program("nginx"), "-v")

    def prepare(self, place, port):
        values = {"WORKERS": self.workers, "PORT": port, "PLACE": place}
        text = (PEERS / "nginx.conf").read_text()
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        (place / "nginx.conf").write_text(text)

    def command(self, place, _port):
        return [find_program("nginx"), "-e", "stderr", "-p", str(place), "-c", str(place / "nginx.conf")]
