"""Hosts as network namespaces, each on a shaped link of its own to one switch, with files of its own in memory."""

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from .programs import BenchmarkError
from .site import needs_root

PREFIX = "roostbench-"
CORE, BRIDGE, HEAD = PREFIX + "core", "switch", "head"
HEAD_ADDRESS = "10.98.0.1"
TCP_LISTEN = "0A"


def tool(*words, check=True):
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if check and result.returncode != 0:
        raise BenchmarkError(f"{' '.join(map(str, words))}: {result.stderr.strip() or result.stdout.strip()}")
    return result


class Host:
    """One namespace; what is started in it goes over its link."""

    def __init__(self, name, address, folder):
        self.name, self.address, self.folder = name, address, folder
        self.namespace = PREFIX + name

    def shape(self, rate):
        """Limits the link both ways; each end shapes what it sends."""
        for space, device in ((CORE, self.name), (self.namespace, "eth0")):
            tool("tc", "-n", space, "qdisc", "replace", "dev", device, "root", "tbf", "rate", rate, "burst", "256kb",
                 "latency", "100ms")

    def plug(self, plugged):
        """The cable of the link, at the switch's end: the host sees that it has no carrier."""
        tool("ip", "-n", CORE, "link", "set", self.name, "up" if plugged else "down")

    def command(self, *words):
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "--", *map(str, words)]

    def start(self, *words, **more):
        more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | more
        return subprocess.Popen(self.command(*words), **more)

    def clear(self):
        """Removes what a way of copying left; an agent's data stays."""
        for path in self.folder.glob("copy*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    @property
    def copy(self):
        return self.folder / "copy"


class Hosts:
    """Used with `with`: a head and `count` hosts, with links of `rate` (`None`: not shaped). Meanwhile this process is at the
    head, and what it starts has the head's link."""

    def __init__(self, count, rate):
        self.count, self.rate = count, rate
        self.head = None
        self.hosts = []
        self._memory = None
        self._origin = None

    def __enter__(self):
        needs_root("the hosts are network namespaces")
        self._origin = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._remove()
        try:
            self._memory = Path(tempfile.mkdtemp(prefix="roost-benchmark-hosts-", dir="/var/tmp"))
            # Pages are taken when they are written, and what does not fit is refused, as on a disk.
            tool("mount", "-t", "tmpfs", "-o", "size=85%,mode=755", "roost-benchmark", self._memory)
            tool("ip", "netns", "add", CORE)
            tool("ip", "-n", CORE, "link", "add", BRIDGE, "type", "bridge", "mcast_snooping", "0")
            tool("ip", "-n", CORE, "link", "set", BRIDGE, "up")
            self.head = self._make(HEAD, HEAD_ADDRESS)
            self.hosts = [self._make(f"host{number}", f"10.98.0.{10 + number}") for number in range(1, self.count + 1)]
            enter(Path("/run/netns", self.head.namespace))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        enter(f"/proc/self/fd/{self._origin}")
        os.close(self._origin)
        self._remove()
        if self._memory:
            tool("umount", "--lazy", self._memory, check=False)
            self._memory.rmdir()

    def _make(self, name, address):
        folder = self._memory / name
        folder.mkdir()
        host = Host(name, address, folder)
        tool("ip", "netns", "add", host.namespace)
        tool("ip", "-n", CORE, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
        tool("ip", "-n", CORE, "link", "set", name, "master", BRIDGE, "up")
        for words in (("link", "set", "lo", "up"), ("address", "add", f"{address}/24", "broadcast", "+", "dev", "eth0"),
                      ("link", "set", "eth0", "up"), ("route", "add", "224.0.0.0/4", "dev", "eth0")):
            tool("ip", "-n", host.namespace, *words)
        if self.rate:
            host.shape(self.rate)
        return host

    @staticmethod
    def _remove():
        for path in Path("/run/netns").glob(PREFIX + "*"):
            tool("ip", "netns", "delete", path.name, check=False)


def enter(namespace):
    with open(namespace, "rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0x40000000) != 0:
            raise BenchmarkError(f"cannot enter {namespace}: {os.strerror(ctypes.get_errno())}")


def is_listening(process, port):
    """Whether somebody listens on a TCP port of the namespace of a process."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == TCP_LISTEN and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    return True
    return False


def wait(what, condition, seconds, pause=0.01):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"not within {seconds} s: {what}")
        time.sleep(pause)


def finish(processes, seconds, what):
    """Waits until all have ended well."""
    deadline = time.monotonic() + seconds
    for process in processes:
        try:
            code = process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"{what}: not within {seconds} s") from None
        if code != 0:
            raise BenchmarkError(f"{what}: {process.args[-1]} ended with {code}")


def end(processes):
    for process in processes:
        if process.poll() is None:
            process.kill()
    for process in processes:
        process.wait()
