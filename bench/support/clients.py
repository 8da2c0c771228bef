"""Clients that wrk cannot be: many connections that stay, and the loads of the bin `load`."""

import contextlib
import json
import resource
import select
import socket
import subprocess

from .running import Failed, now
from .side import RELEASE

REQUEST = b"GET /whoami HTTP/1.1\r\nHost: localhost\r\n\r\n"


def load(port, *arguments, seconds=60):
    """What `load` has to say."""
    argv = [str(RELEASE / "load"), "--port", str(port), *arguments]
    try:
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=seconds, check=True)
    except subprocess.CalledProcessError as error:
        raise Failed(f"load: {error.stderr.strip()}") from error
    except subprocess.SubprocessError as error:
        raise Failed(f"load: {error}") from error
    return json.loads(ran.stdout)


@contextlib.contextmanager
def connections(port, number, source=lambda _index: None):
    """That many connections at once, each with one request sent. `source` says from which address one comes."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    opened = []
    try:
        for index in range(number):
            opened.append(socket.create_connection(("127.0.0.1", port), 10, source(index)))
        for connection in opened:
            connection.sendall(REQUEST)
        yield opened
    finally:
        for connection in opened:
            connection.close()


def answers(opened, expected, within):
    """The bodies of the answers that come, until there are as many as expected."""
    poll = select.poll()
    waiting = {connection.fileno(): connection for connection in opened}
    for fd in waiting:
        poll.register(fd, select.POLLIN)
    bodies = []
    deadline = now() + int(within * 1e9)
    while len(bodies) < expected:
        ready = poll.poll(max(0, deadline - now()) / 1e6)
        if not ready:
            raise Failed(f"{len(bodies)} of {len(opened)} connections were answered, {expected} should be")
        for fd, _ in ready:
            answer = waiting[fd].recv(4096)
            if b"\r\n\r\n" not in answer:
                raise Failed(f"not a whole answer: {answer!r}")
            poll.unregister(fd)
            bodies.append(answer.split(b"\r\n\r\n", 1)[1])
    if len(bodies) > expected:
        raise Failed(f"{len(bodies)} of {len(opened)} connections were answered, {expected} at most should be")
    return bodies
