"""What all rows of a benchmark share: measuring sides in turn, and keeping what was run."""

import shlex
import sys
from pathlib import Path

from .report import UNWANTED, Samples
from .running import Failed
from .rust import Plain
from .side import RELEASE, REPO


class Bench:
    """Where things run, how often, what was run and what went wrong."""

    def __init__(self, options, sandbox):
        self.quick = options.quick
        self.pairs = options.pairs
        self.wanted = [text.lower() for text in options.side or []]
        self.sandbox = sandbox
        self.commands = {}
        self.versions = {}
        self.failures = []
        # Sides that cannot be run here, and why.
        self.absent = []
        # Title and table of what does not fit into the table of comparisons.
        self.tables = {}
        # As SVG, stored beside the report.
        self.drawing = ""
        # Their rows so far, for tables that several rows add to.
        self.loads = {}
        self._missing = {}

    def rounds(self, usual, quick=2):
        return self.pairs or (quick if self.quick else usual)

    def start(self, side, limit=60.0):
        server = side.start(self.sandbox, limit)
        self.note(f"{side.name}, {server_size(side)}", server.popen.args)
        product = side.product or side.name
        if product not in self.versions:
            self.versions[product] = side.version()
        return server

    def shown(self, text):
        """A text without the paths of this machine."""
        places = {self.sandbox.root: "$TMP", RELEASE: "target/release", REPO: ".", Path.home(): "~"}
        for path, shown in places.items():
            text = text.replace(f"{path}/", f"{shown}/")
        return text

    def note(self, name, argv):
        """Keeps a command line."""
        text = self.shown(shlex.join(argv))
        for folder in ("/usr/bin/", "/usr/local/bin/", "/usr/sbin/"):
            text = text.removeprefix(folder)
        self.commands.setdefault(name, text)

    def missing(self, side):
        """What to say in place of a side's figures, or None. Asked once: it may take a while to find out."""
        if side.name not in self._missing:
            unwanted = self.wanted and not any(text in side.name.lower() for text in self.wanted)
            reason = None if unwanted else side.missing()
            if reason:
                self.absent.append(f"{side.name}: {reason}")
            self._missing[side.name] = UNWANTED if unwanted else reason and "not measured, see below"
        return self._missing[side.name]

    def alternate(self, title, sides, rounds, measure, warm_up=True):
        """A B A B ...: one measurement of each side a round, each on a fresh server, after one round
        that does not count. Returns for each side the list of what was measured, or why there is none.
        """
        results = {}
        usable = []
        for side in sides:
            reason = self.missing(side)
            results[side] = reason or []
            if not reason:
                usable.append(side)
        for turn in range(-1 if warm_up else 0, rounds):
            for side in list(usable):
                say(f"{title}: {side.name}, {'warming up' if turn < 0 else f'{turn + 1} of {rounds}'}")
                try:
                    value = measure(side)
                    if turn >= 0:
                        results[side].append(value)
                except (Failed, OSError) as error:
                    self.failures.append(self.shown(f"{title}, {side.name}: {error}"))
                    results[side] = "failed, see below"
                    usable.remove(side)
                finally:
                    self.sandbox.end_all()
        return results


def server_size(side):
    threads = count(side.threads, "thread") if hasattr(side, "threads") else None
    if isinstance(side, Plain):
        return threads
    workers = count(side.workers, "worker")
    return f"{workers} of {threads}" if threads else workers


def count(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"


def say(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def samples(unit, measured, scale=1.0, limit=0.0, key=None):
    """The measured values as samples, or the reason why there are none."""
    if isinstance(measured, str):
        return measured
    values = [value if key is None else value[key] for value in measured]
    return Samples(unit, [None if value is None else value * scale for value in values], limit)
