"""A site on this machine's loopback: one manager, any number of agents, all files in one folder that goes away with it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .programs import REPOSITORY, BenchmarkError

sys.path.insert(0, str(REPOSITORY / "Tests/Lab"))
from labkit.api import APICaller  # noqa: E402
from labkit.site import merged, yaml  # noqa: E402

LOOPBACK = "127.0.0.1"


class Program:
    """A long-running program with its log."""

    def __init__(self, command, log, **more):
        self.log = log
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=more.pop("stdin", subprocess.DEVNULL),
                stdout=more.pop("stdout", output), stderr=output, **more)

    @property
    def pid(self):
        return self.process.pid

    def check(self):
        if self.process.poll() is not None:
            end = "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])
            raise BenchmarkError(f"{self.log.stem} ended with {self.process.returncode}:\n{end}")

    def stop(self, limit=15):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(limit)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Site(APICaller):
    """Used with `with`; everything ends with the block, also where that failed."""

    failure = BenchmarkError

    def __init__(self, programs, settings=None):
        self.programs = programs
        # On a disk: a commit must cost what it costs. Readable, since QEMU runs as a user of its own.
        self.home = Path(tempfile.mkdtemp(prefix="roost-benchmark-", dir="/var/tmp"))
        self.home.chmod(0o755)
        self.api, self.agents, self.chunks = free_ports(3)
        self.settings = merged({
            "data": str(self.home / "manager"),
            "api": {"host": LOOPBACK, "port": self.api},
            "agents": {"host": LOOPBACK, "port": self.agents},
            "chunks": {"host": LOOPBACK, "port": self.chunks},
            "log": {"level": "info"}}, settings or {})
        self.configuration = self.home / "manager.yaml"
        self.configuration.write_text(yaml(self.settings) + "\n")
        self.manager = None
        self.others = []

    def __enter__(self):
        try:
            subprocess.run(
                [self.programs / "roost-manager", "init", "--data", self.settings["data"], "--config", self.configuration],
                check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        except subprocess.CalledProcessError as problem:
            self.__exit__(None, None, None)
            raise BenchmarkError(f"roost-manager init: {problem.stderr}") from problem
        return self

    def __exit__(self, kind, value, trace):
        for program in [*reversed(self.others), *([self.manager] if self.manager else [])]:
            program.stop()
        if kind is None or not isinstance(value, BenchmarkError):
            shutil.rmtree(self.home, ignore_errors=True)
        else:
            print(f"logs are kept in {self.home}", file=sys.stderr)

    # Programs

    def launch_manager(self):
        self.manager = Program([self.programs / "roost-manager", "run", "--config", self.configuration],
                               self.home / "manager.log")

    def start_manager(self):
        self.launch_manager()
        self.wait("the manager answers", lambda: self.answers("/readyz"), 30)

    def start(self, command, name, **more):
        program = Program(command, self.home / f"{name}.log", **more)
        self.others.append(program)
        return program

    def start_agent(self, name, settings, folder=None):
        """Joins a host and starts its agent, with its data in `folder`; returns the program."""
        (port,) = free_ports(1)
        content = merged({
            "data": str((folder or self.home) / name), "manager": {"address": f"{LOOPBACK}:{self.agents}"}, "node": {"name": name},
            "chunks": {"host": LOOPBACK, "port": port, "advertise": f"{LOOPBACK}:{port}"}, "log": {"level": "info"}},
            settings)
        configuration = self.home / f"{name}.yaml"
        configuration.write_text(yaml(content) + "\n")
        token = self.call("POST", "/v1/nodes/tokens", {"node_name": name}, expect=201)
        joined = subprocess.run(
            [self.programs / "roost-agent", "join", "--config", configuration, "--manager", f"{LOOPBACK}:{self.agents}",
             "--token", token["token"], "--ca-fingerprint", token["ca_fingerprint"]],
            capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if joined.returncode != 0:
            raise BenchmarkError(f"roost-agent join: {joined.stderr}")
        return self.start([self.programs / "roost-agent", "run", "--config", configuration], name)

    def wait(self, what, condition, seconds, pause=0.1):
        """Waits for a level, with a limit, while the site's programs live; returns what the condition returned."""
        deadline = time.monotonic() + seconds
        while not (answer := condition()):
            for program in [self.manager, *self.others]:
                program.check()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"not within {seconds} s: {what}")
            time.sleep(pause)
        return answer

    def wait_for_nodes(self, count, seconds=120):
        self.wait(f"{count} nodes alive", lambda: self.nodes_alive() >= count, seconds, pause=0.5)

    def nodes_alive(self):
        return sum(node["alive"] == "alive" for node in self.pages("/v1/nodes"))

    # API

    @property
    def endpoint(self):
        return f"https://{LOOPBACK}:{self.api}"

    @property
    def authority(self):
        return Path(self.settings["data"]) / "ca.pem"

    @property
    def admin_password(self):
        return (Path(self.settings["data"]) / "admin-password").read_text().strip()

    # Things that instances need

    def add_image(self, name, content, image_format="raw"):
        self.call("POST", "/v1/images", {"name": name, "format": image_format}, expect=201)
        self.call("PUT", f"/v1/images/{name}/file", content, expect=202, content_type="application/octet-stream")

        def active():
            image = self.call("GET", f"/v1/images/{name}")
            if image["status"] == "error":
                raise BenchmarkError(f"image {name}: {image['status_reason']}")
            return image["status"] == "active"

        self.wait(f"image {name} is active", active, 120)

    def add_flavor(self, name, vcpus=1, ram_mib=128, disk_gib=1):
        self.call("POST", "/v1/flavors", {"name": name, "vcpus": vcpus, "ram_mib": ram_mib, "disk_gib": disk_gib},
                  expect=201)


def free_ports(count):
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def needs_root(why):
    if os.geteuid() != 0:
        raise BenchmarkError(f"needs root: {why}")
