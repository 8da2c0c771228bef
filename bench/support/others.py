"""The sides that are neither ours nor Node's."""

import shutil

from .side import PEERS, SCRATCH, Side, find_program, output, unpacked_libraries


class Gunicorn(Side):
    """`threads`: of each worker. Only workers with threads keep connections alive."""

    worker_ready = r"^worker-ready (\d+)"
    program = SCRATCH / "pypi" / "bin" / "gunicorn"

    def __init__(self, workers=2, threads=None):
        super().__init__(workers)
        self.kind = ["--worker-class", "gthread", "--threads", str(threads)] if threads else []
        self.name = "gunicorn gthread" if threads else "gunicorn"

    def missing(self):
        return None if self.program.exists() else "gunicorn is not installed"

    def version(self):
        python = output(str(SCRATCH / "pypi" / "bin" / "python"), "--version")
        return f"{output(str(self.program), '--version')}, {python}, {'gthread' if self.kind else 'sync'} workers"

    def command(self, _place, port):
        argv = [str(self.program), "--config", str(PEERS / "gunicorn.conf.py"), "--workers", str(self.workers)]
        return [*argv, *self.kind, "--bind", f"127.0.0.1:{port}", "--log-level", "warning", "hello:app"]


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
    """`reuse_port`: a socket for each worker instead of one for all."""

    def __init__(self, workers=2, reuse_port=False):
        super().__init__(workers)
        self.options = " reuseport" if reuse_port else ""
        self.name = "nginx reuseport" if reuse_port else "nginx"

    def missing(self):
        return None if find_program("nginx") else "nginx is not installed"

    def version(self):
        return output(find_program("nginx"), "-v")

    def configure(self, place, name, **values):
        """Writes a configuration of `peers` with these values in it."""
        text = (PEERS / name).read_text()
        for key, value in {**values, "PLACE": place}.items():
            text = text.replace(f"@{key}@", str(value))
        (place / name).write_text(text)

    def prepare(self, place, port):
        self.configure(place, "nginx.conf", WORKERS=self.workers, PORT=port, OPTIONS=self.options)

    def command(self, place, _port):
        return [find_program("nginx"), "-e", "stderr", "-p", str(place), "-c", str(place / "nginx.conf")]


class Puma(Side):
    """Cluster mode. Debian's Ruby, unpacked and not installed, must be told where everything is."""

    name = "Puma"
    apt = SCRATCH / "apt" / "usr"

    def _argv(self):
        if program := shutil.which("puma"):
            return [program]
        ruby = next(iter(sorted((self.apt / "bin").glob("ruby?.?"))), None)
        program = self.apt / "bin" / "puma"
        return [str(ruby), str(program)] if ruby and program.exists() else None

    def missing(self):
        return None if self._argv() else "puma is not installed"

    def version(self):
        return output(*self._argv(), "--version", env=self._ruby())

    def _ruby(self):
        library = self.apt / "lib"
        folders = ["ruby/vendor_ruby", "ruby/*.*.*", "*-linux-gnu/ruby/vendor_ruby/*", "*-linux-gnu/ruby/*.*.*"]
        gems = ["lib/*-linux-gnu/rubygems-integration/*", "share/rubygems-integration/all", "lib/ruby/gems/*"]
        return {
            "LD_LIBRARY_PATH": unpacked_libraries(),
            "RUBYLIB": ":".join(str(path) for pattern in folders for path in library.glob(pattern)),
            "GEM_PATH": ":".join(str(path) for pattern in gems for path in self.apt.glob(pattern)),
        }

    def environment(self, place):
        unpacked = {} if shutil.which("puma") else self._ruby()
        return {**super().environment(place), **unpacked, "RACK_ENV": "production"}

    def command(self, _place, port):
        argv = [*self._argv(), "--workers", str(self.workers), "--threads", "5:5", "--preload", "--quiet"]
        return [*argv, "--bind", f"tcp://127.0.0.1:{port}", str(PEERS / "hello.ru")]
