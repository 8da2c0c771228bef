"""Single processes behind nginx as a reverse proxy: no cluster, and a second connection for each request."""

from .others import Nginx
from .running import free_port
from .side import PEERS, RELEASE, find_program


class Proxied(Nginx):
    """`what`: the name of the processes, and their command line, which ends before the port. There are as many
    workers of nginx as processes."""

    product = "nginx"

    def __init__(self, what, argv, workers=2):
        super().__init__(workers)
        self.argv = argv
        self.name = f"nginx before {workers} x {what}"
        self.behind = []

    def missing(self):
        return super().missing() or (None if find_program(self.argv[0]) else f"no {self.argv[0]}")

    def environment(self, place):
        return {**super().environment(place), "NGINX": find_program("nginx")}

    def prepare(self, place, port):
        self.behind = [free_port() for _ in range(self.workers)]
        servers = "\n".join(f"    server 127.0.0.1:{behind};" for behind in self.behind)
        self.configure(place, "proxy.conf", WORKERS=self.workers, PORT=port, PROCESSES=servers)

    def ports(self, server):
        """nginx last: what does not answer it is not asked again for 10 seconds."""
        return [*self.behind, server.port]

    def command(self, place, _port):
        ports = " ".join(map(str, self.behind))
        return ["sh", str(PEERS / "proxy.sh"), str(place / "proxy.conf"), ports, *self.argv]


def of_axum(workers=2):
    return Proxied("axum::serve", [str(RELEASE / "plain"), "--threads", "1", "--port"], workers)


def of_node(workers=2):
    return Proxied("Node", [find_program("node") or "node", str(PEERS / "single.js")], workers)
