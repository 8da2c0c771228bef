"""Servers that are started, watched and, whatever happens, ended."""

import ctypes
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from . import proc

PR_SET_CHILD_SUBREAPER = 36
TAIL = 4000


class Failed(Exception):
    """A server that did not do what it should."""


def now():
    """Nanoseconds of CLOCK_MONOTONIC."""
    return time.monotonic_ns()


class Sandbox:
    """Everything that is started and written here ends with this.

    Orphans of dead masters become children of this process instead of init's, so that they are found.
    """

    def __init__(self):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.root = Path(tempfile.mkdtemp(prefix="hatchery-bench-"))
        self._folders = 0

    def folder(self):
        self._folders += 1
        path = self.root / str(self._folders)
        path.mkdir(mode=0o755)
        return path

    def end_all(self):
        """Kills whatever descends from this process and waits until it is gone."""
        deadline = now() + 10_000_000_000
        while True:
            for pid in proc.descendants(os.getpid()):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            if now() > deadline:
                raise Failed(f"not gone after 10 s: {proc.descendants(os.getpid())}")
            time.sleep(0.002)

    def __enter__(self):
        self.root.chmod(0o755)
        return self

    def __exit__(self, *_):
        # Impatience must not keep this from ending.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        try:
            self.end_all()
        finally:
            shutil.rmtree(self.root, ignore_errors=True)


class Running:
    """One server with all its processes, from just before its start.

    Two pipes lead to it. On `out` it announces what is ready. `life` is its standard error and one more
    descriptor, so that every process of it has it: end-of-file there means that none is left.
    """

    def __init__(self, argv, env, cwd, announcements=None):
        out, out_end = os.pipe()
        self.life, life_end = os.pipe()
        if announcements is not None:
            # Opened for writing, too: no end-of-file while there is no writer yet.
            os.mkfifo(announcements)
            os.close(out)
            out = os.open(announcements, os.O_RDWR)
        self.out = out
        for fd in (self.out, self.life):
            os.set_blocking(fd, False)
        self.pending = b""
        self.tail = b""
        self.began = now()
        try:
            self.popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=life_end if announcements else out_end,
                stderr=life_end,
                pass_fds=(life_end,),
                start_new_session=True,
                env=env,
                cwd=cwd,
            )
        finally:
            os.close(out_end)
            os.close(life_end)
        self.master = self.popen.pid
        self.pidfd = os.pidfd_open(self.master)
        self.ready = None
        self.port = None

    def pids(self):
        return [self.master, *proc.descendants(self.master)]

    def announced(self, find, timeout):
        """Reads announcements until `find` makes something of one. Returns that and when it was read."""
        deadline = now() + int(timeout * 1e9)
        poll = select.poll()
        for fd in (self.out, self.life, self.pidfd):
            poll.register(fd, select.POLLIN)
        while True:
            while b"\n" in self.pending:
                line, self.pending = self.pending.split(b"\n", 1)
                found = find(line.decode(errors="replace"))
                if found is not None:
                    return found, self.read_at
            left = deadline - now()
            if left <= 0:
                raise Failed(f"nothing after {timeout:.0f} s; it wrote: {self.last_words()}")
            events = dict(poll.poll(left / 1e6))
            if self.out in events:
                self.read_at = now()
                chunk = self._read(self.out)
                self.pending += chunk
                if chunk:
                    continue
                poll.unregister(self.out)
            if self.life in events and not self.drain_life():
                poll.unregister(self.life)
            if self.pidfd in events:
                raise Failed(f"it ended; it wrote: {self.last_words()}")

    def skip(self):
        """Forgets what was announced so far: a pipe that nobody reads is full at some time."""
        while self._read(self.out):
            pass
        self.pending = b""

    def drain_life(self):
        """Takes what is in the life pipe. False at its end."""
        while (chunk := self._read(self.life)) is not None:
            if not chunk:
                return False
            self.tail = (self.tail + chunk)[-TAIL:]
        return True

    @staticmethod
    def _read(fd):
        try:
            return os.read(fd, 65536)
        except BlockingIOError:
            return None

    def last_words(self):
        self.drain_life()
        return self.tail.decode(errors="replace").strip() or "nothing"

    def kill_master(self, limit):
        """Kills the master alone. Returns the seconds until all the others are gone, or None if they are
        not after `limit` seconds. Gone: the life pipe is at its end and every process has terminated."""
        watched = {os.pidfd_open(pid) for pid in proc.descendants(self.master)}
        if not watched:
            raise Failed("it has no children")
        poll = select.poll()
        for fd in watched | {self.life}:
            poll.register(fd, select.POLLIN)
        alive = watched | {self.life}
        began = now()
        os.kill(self.master, signal.SIGKILL)
        try:
            while alive:
                left = limit - (now() - began) / 1e9
                if left <= 0:
                    return None
                for fd, _ in poll.poll(left * 1e3):
                    if fd != self.life or not self.drain_life():
                        alive.discard(fd)
                        poll.unregister(fd)
            return (now() - began) / 1e9
        finally:
            for fd in watched:
                os.close(fd)

    def close(self):
        for fd in (self.out, self.life, self.pidfd):
            os.close(fd)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(port, timeout=2.0):
    """The answer to `GET /`, whole."""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.settimeout(timeout)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
        return answer


def answers(port, within):
    """Waits until the server answers as it should."""
    deadline = now() + int(within * 1e9)
    while True:
        try:
            answer = get(port)
        except OSError as error:
            answer = repr(error).encode()
        if answer.startswith(b"HTTP/1.1 200 ") and b"Hello World" in answer:
            return
        if now() > deadline:
            raise Failed(f"GET / is not answered: {answer[:200]!r}")
        time.sleep(0.005)
