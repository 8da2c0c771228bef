"""The sides that run on Node."""

import json
import shutil

from .side import PEERS, SCRATCH, Side, find_program, output

NODE_MODULES = SCRATCH / "npm" / "node_modules"


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
    """`scheduling` as in NODE_CLUSTER_SCHED_POLICY; None is the default of Node, which is rr."""

    worker_ready = r"^worker-ready (\d+)"

    def __init__(self, workers=2, scheduling=None):
        super().__init__(workers)
        self.scheduling = scheduling
        self.name = f"Node cluster {scheduling}" if scheduling else "Node cluster"

    def missing(self):
        return None if find_program("node") else "no node"

    def version(self):
        return f"Node {output('node', '--version')}"

    def environment(self, place):
        policy = {"NODE_CLUSTER_SCHED_POLICY": self.scheduling} if self.scheduling else {}
        return {**super().environment(place), **policy}

    def command(self, _place, port):
        return [find_program("node"), str(PEERS / "cluster.js"), str(port), str(self.workers)]


class NodeMessages(NodeCluster):
    """Workers that talk through the primary."""

    def command(self, _place, port):
        return [find_program("node"), str(PEERS / "messages.js"), str(port), str(self.workers)]


class NodeSingle(Side):
    """One process, without a cluster."""

    name = "Node, one process"
    worker_ready = r"^worker-ready (\d+)"

    def __init__(self):
        super().__init__(workers=1)

    def missing(self):
        return None if find_program("node") else "no node"

    def version(self):
        return f"Node {output('node', '--version')}"

    def command(self, _place, port):
        return [find_program("node"), str(PEERS / "single.js"), str(port)]


class Pm2(Side):
    """Cluster mode, started as in a container: PM2's daemon in the foreground."""

    name = "PM2 cluster"
    # It puts the name of the application in front.
    worker_ready = r"worker-ready (\d+)"

    def missing(self):
        if not find_program("node"):
            return "no node"
        return None if (NODE_MODULES / "pm2" / "package.json").exists() else "pm2 is not installed"

    def version(self):
        return f"pm2 {package_version('pm2')}, Node {output('node', '--version')}"

    def environment(self, place):
        return {**super().environment(place), "PM2_HOME": str(place / "pm2")}

    def prepare(self, place, port):
        app = {
            "name": "hello",
            "script": str(PEERS / "single.js"),
            "exec_mode": "cluster",
            "instances": self.workers,
            "env": {"PORT": str(port)},
        }
        (place / "ecosystem.json").write_text(json.dumps({"apps": [app]}))

    def command(self, place, _port):
        script = NODE_MODULES / "pm2" / "bin" / "pm2-runtime"
        return [find_program("node"), str(script), "start", str(place / "ecosystem.json")]
