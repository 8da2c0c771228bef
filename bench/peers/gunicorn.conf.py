"""Says when a worker is ready, which gunicorn itself does not."""

import os


def post_worker_init(worker):
    os.write(1, b"worker-ready %d\n" % worker.pid)
