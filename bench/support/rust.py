"""The sides that are built from this repository: hatchery, and what one would have without it."""

import subprocess

from .side import RELEASE, REPO, Side, output


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


class Messages(Hatchery):
    """Agent and workers that talk to each other."""

    def command(self, place, _port):
        argv = [str(RELEASE / "messages"), "--workers", str(self.workers), "--listen", "127.0.0.1:0"]
        return [*argv, "--runtime-dir", str(place / "run"), "--events", str(place / "events"), "--log-level", "warn"]


class Plain(Side):
    name = "axum::serve"
    ready = r"^ready 127\.0\.0\.1:(\d+)"

    def __init__(self, threads=1):
        super().__init__(workers=1)
        self.threads = threads

    def command(self, _place, _port):
        return [str(RELEASE / "plain"), "--threads", str(self.threads), "--port", "0"]


class Clustered(Hatchery):
    """hatchery with the benchmark's router, with one strategy."""

    product = "hatchery"

    def __init__(self, strategy, workers=2, options=()):
        super().__init__(workers)
        self.strategy = strategy
        self.name = f"hatchery {strategy}"
        self.options = [*options]
        if strategy == "weighted":
            self.options += ["--weights", ",".join(["3"] + ["1"] * (workers - 1))]

    def _program(self, *arguments):
        argv = [str(RELEASE / "clustered"), *arguments, "--strategy", self.strategy]
        return [*argv, "--workers", str(self.workers), "--threads", str(self.threads), *self.options]

    def missing(self):
        """Asks the program itself, which knows the strategies it has."""
        try:
            subprocess.run(self._program("check"), capture_output=True, text=True, timeout=20, check=True)
        except OSError as error:
            return str(error)
        except subprocess.SubprocessError as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            return said[0] if said else str(error)
        return None

    def command(self, place, _port):
        argv = [*self._program("start"), "--listen", "127.0.0.1:0", "--runtime-dir", str(place / "run")]
        return [*argv, "--events", str(place / "events"), "--log-level", "warn"]


class Handwritten(Side):
    """The floor: a strategy in 150 lines. `bare`: without axum's router in it."""

    ready = r"^ready 127\.0\.0\.1:(\d+)"

    def __init__(self, strategy, workers=2, bare=False):
        super().__init__(workers)
        self.strategy = strategy
        self.bare = bare
        self.name = f"handwritten {strategy}{', without axum' if bare else ''}"

    def command(self, _place, _port):
        argv = [str(RELEASE / "handwritten"), "--strategy", self.strategy, "--workers", str(self.workers)]
        return [*argv, "--bare"] if self.bare else argv
