"""Sites for tests: real managers on this machine's loopback, all files in one folder that goes away with them."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY / "Tests/Lab"))
sys.path.insert(0, str(REPOSITORY / "Benchmarks"))
from benchkit.database import Database  # noqa: E402
from labkit.api import FORM, APICaller  # noqa: E402, F401
from labkit.site import SHARED_FILES, merged, yaml  # noqa: E402

LOOPBACK = "127.0.0.1"


def programs():
    """The folder of the programs to try (`run --bin`)."""
    return Path(os.environ.get("CLIENTS_BIN") or REPOSITORY / ".build/debug")


def environment():
    """This process's, without what would be settings of the programs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ROOST_")}


class Manager(APICaller):
    """One manager's process, and what it answers."""

    def __init__(self, home, settings):
        self.home = home
        self.api, self.agents, self.chunks = free_ports(3)
        self.data = home / "data"
        self.log = home / "log"
        self.configuration = home / "manager.yaml"
        self.process = None
        self.settings = merged({
            "data": str(self.data),
            "manager": {"name": home.name},
            "api": {"host": LOOPBACK, "port": self.api, "advertise": f"{LOOPBACK}:{self.api}"},
            "agents": {"host": LOOPBACK, "port": self.agents, "advertise": f"{LOOPBACK}:{self.agents}"},
            "chunks": {"host": LOOPBACK, "port": self.chunks, "advertise": f"{LOOPBACK}:{self.chunks}"},
            "log": {"level": "debug"}}, settings)
        home.mkdir(parents=True)
        self.configuration.write_text(yaml(self.settings) + "\n")

    def run(self, *words, **more):
        """Another command of roost-manager with this manager's configuration; what it printed."""
        result = subprocess.run(
            [programs() / "roost-manager", *words, "--config", self.configuration], capture_output=True, text=True,
            env=environment(), **{"stdin": subprocess.DEVNULL, **more})
        if result.returncode != 0:
            raise AssertionError(f"roost-manager {' '.join(words)}: exit {result.returncode}\n{result.stdout}{result.stderr}")
        return result.stdout

    def start(self):
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                [programs() / "roost-manager", "run", "--config", self.configuration], stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, env=environment())
        wait("the manager is ready", lambda: self.alive() and self.answers("/readyz"), 30)

    def alive(self):
        if self.process.poll() is not None:
            end = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
            raise AssertionError(f"the manager ended with {self.process.returncode}:\n{end}")
        return True

    def stop(self, how=signal.SIGTERM, limit=20):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def pid(self):
        return self.process.pid

    @property
    def endpoint(self):
        return f"https://{LOOPBACK}:{self.api}"

    @property
    def authority(self):
        """The site's certificate, for clients to trust."""
        return self.data / "ca.pem"

    def resident(self):
        """Bytes of memory that the process holds."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    admin_password = ""


class Site(contextlib.AbstractContextManager):
    """One manager on SQLite, or several on one MariaDB server. Used with `with`; everything ends with the block."""

    def __init__(self, settings=None, managers=1, mariadb=None, starts=True):
        self.home = Path(tempfile.mkdtemp(prefix="roost-clients-", dir="/var/tmp"))
        self.home.chmod(0o755)
        self._starts = starts
        self._stack = contextlib.ExitStack()
        try:
            extra = settings or {}
            self.database = None
            if mariadb or managers > 1:
                self.database = self._stack.enter_context(Database())
                extra = merged(extra, self.database.settings)
            self.managers = [Manager(self.home / f"manager-{number}", extra) for number in range(1, managers + 1)]
        except BaseException:
            self._stack.close()
            shutil.rmtree(self.home, ignore_errors=True)
            raise

    @property
    def manager(self):
        return self.managers[0]

    def __enter__(self):
        try:
            first = self.manager
            first.run("init", "--data", str(first.data))
            password = (first.data / "admin-password").read_text().strip()
            for other in self.managers[1:]:
                copies = self.home / "shared"
                copies.mkdir(mode=0o700, exist_ok=True)
                for name in SHARED_FILES:
                    if (first.data / name).exists():
                        shutil.copy2(first.data / name, copies / name)
                other.run("init", "--data", str(other.data), "--from", str(copies))
            for manager in self.managers:
                manager.admin_password = password
                if self._starts:
                    manager.start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, value, trace):
        for manager in self.managers:
            manager.stop()
        self._stack.close()
        if kind is None:
            shutil.rmtree(self.home, ignore_errors=True)
        else:
            print(f"logs are kept in {self.home}", flush=True)

    # One manager's words, for tests that have but one.

    @property
    def endpoint(self):
        return self.manager.endpoint

    @property
    def authority(self):
        return self.manager.authority

    def request(self, *words, **more):
        return self.manager.request(*words, **more)

    def call(self, *words, **more):
        return self.manager.call(*words, **more)

    def token(self):
        return self.manager.token()

    def sign_in(self, name, password):
        return self.manager.sign_in(name, password)

    # Things that tests need

    def add_user(self, name, password="correct horse battery", **more):
        """A user, and a token of theirs."""
        self.call("POST", "/v1/users", {"name": name, "password": password, **more}, expect=201)
        return self.sign_in(name, password)

    def add_flavor(self, name, vcpus=1, ram_mib=128, disk_gib=1):
        return self.call("POST", "/v1/flavors", {"name": name, "vcpus": vcpus, "ram_mib": ram_mib, "disk_gib": disk_gib},
                         expect=201)

    def add_image(self, name, content=b"\xa5" * 4096, image_format="raw"):
        self.call("POST", "/v1/images", {"name": name, "format": image_format}, expect=201)
        self.call("PUT", f"/v1/images/{name}/file", content, expect=202, content_type="application/octet-stream")

        def active():
            image = self.call("GET", f"/v1/images/{name}")
            if image["status"] == "error":
                raise AssertionError(f"image {name}: {image['status_reason']}")
            return image["status"] == "active" and image

        return wait(f"image {name} is active", active, 60)


class SiteTest(unittest.TestCase):
    """Tests that share one site; `settings` and `managers` say which."""

    settings = {}
    managers = 1

    @classmethod
    def setUpClass(cls):
        cls.site = Site(cls.settings, cls.managers)
        cls.site.__enter__()

    @classmethod
    def tearDownClass(cls):
        # Logs are worth keeping only where a test failed, which unittest does not tell here.
        cls.site.__exit__(None, None, None)

    def run(self, result=None):
        before = len(result.failures) + len(result.errors) if result else 0
        answer = super().run(result)
        if result and len(result.failures) + len(result.errors) > before and hasattr(self, "site"):
            kept = Path(tempfile.mkdtemp(prefix="roost-clients-failed-", dir="/var/tmp"))
            for manager in self.site.managers:
                if manager.log.exists():
                    shutil.copy2(manager.log, kept / f"{manager.home.name}.log")
            print(f"  logs are kept in {kept}", flush=True)
        return answer


def wait(what, condition, seconds, pause=0.05):
    """Waits for a level, with a limit; returns what the condition returned."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(pause)
    return answer


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
