"""The application of gunicorn and Granian."""

import os


def app(environ, start_response):
    body = str(os.getpid()).encode() if environ["PATH_INFO"] == "/whoami" else b"Hello World"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
