"""One member of the lab: a host, or the manager's machine. A member is a process-ID, mount, host-name and network
namespace, held by one process; when that ends, the kernel ends everything in it, as if the power had failed."""

import os
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path

from . import network
from .record import LabError, Record, children, end, identify, is_running

LAB = Path(__file__).resolve().parent.parent / "lab"
# Folders that libvirt fixes at build time; each host gets its own.
LIBVIRT_FOLDERS = ("/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt")


class Member:
    def __init__(self, record, name):
        self.record = record
        self.name = name
        self.folder = record.folder / name

    @property
    def content(self):
        return self.record.member(self.name)

    def process(self, role):
        return self.content["processes"].get(role)

    def is_running(self, role):
        return is_running(self.process(role))

    def log(self, role):
        return self.folder / f"{role}.log"

    # Power

    def power_on(self):
        """Gives the member its network and its namespaces. No program of ours runs in it yet."""
        if self.is_running("holder"):
            raise LabError(f"{self.name} is already on")
        content = self.content
        self.folder.mkdir(parents=True, exist_ok=True)
        network.make_member(self.name, content["address"], content.get("rate"), content.get("latency_ms"))
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        with open(self.log("holder"), "ab") as log:
            outer = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{network.namespace(self.name)}", "unshare", "--mount", "--pid", "--uts",
                 "--fork", "--kill-child=KILL", "--mount-proc", "--propagation", "private",
                 str(LAB), "_hold", self.name, "--state", str(self.record.folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        # Recorded at once: whatever happens next, `lab down` finds it.
        self.record.set_process(self.name, "outer", identify(outer.pid))
        deadline = time.monotonic() + 20
        while not ready.exists():
            if outer.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"{self.name} did not come up; see {self.log('holder')}")
            time.sleep(0.01)
        self.record.set_process(self.name, "holder", identify(children(outer.pid)[0]))

    def power_off(self):
        """Ends every process of the member at once."""
        end(self.process("holder"))
        end(self.process("outer"))

    # Programs

    def enter(self, command, folder=None):
        """The command line that runs `command` inside this member."""
        holder = self.process("holder")
        if not is_running(holder):
            raise LabError(f"{self.name} is off; run: lab start {self.name}")
        return ["nsenter", "--target", str(holder["pid"]), "--mount", "--net", "--pid", "--uts",
                f"--wd={folder or os.getcwd()}", "--", *command]

    def run(self, *command, check=True, timeout=60, text_input=None):
        result = subprocess.run(self.enter(command), capture_output=True, text=True, timeout=timeout, input=text_input,
                                stdin=subprocess.DEVNULL if text_input is None else None)
        if check and result.returncode != 0:
            raise LabError(f"{self.name}: {' '.join(command)}: exit {result.returncode}: "
                           f"{result.stderr.strip() or result.stdout.strip()}")
        return result

    def start(self, role, command, environment=None):
        """Starts a long-running program, its output in a log of its own, its identity recorded."""
        if self.is_running(role):
            raise LabError(f"{role} already runs on {self.name}")
        with open(self.log(role), "ab") as log:
            outer = subprocess.Popen(self.enter(command, folder=self.folder), stdin=subprocess.DEVNULL, stdout=log,
                                     stderr=log, start_new_session=True, env={**os.environ, **(environment or {})})
        deadline = time.monotonic() + 10
        while not (inner := children(outer.pid)):
            if outer.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"{role} on {self.name} ended at once; see {self.log(role)}")
            time.sleep(0.005)
        self.record.set_process(self.name, role, identify(inner[0]))

    def kill(self, role, number=signal.SIGKILL):
        if not end(self.process(role), number):
            raise LabError(f"no {role} runs on {self.name}")

    # libvirt

    def start_virtlogd(self):
        self.start("virtlogd", ["virtlogd", "--pid-file", "/run/virtlogd.pid"])

    def start_libvirtd(self):
        if not self.is_running("virtlogd"):
            self.start_virtlogd()
        self.start("libvirtd", ["libvirtd", "--pid-file", "/run/libvirtd.pid"])

    def wait_for_libvirtd(self, seconds=60):
        deadline = time.monotonic() + seconds
        while self.run("virsh", "-c", "qemu:///system", "uri", check=False).returncode != 0:
            if not self.is_running("libvirtd") or time.monotonic() > deadline:
                raise LabError(f"libvirtd on {self.name} does not answer; see {self.log('libvirtd')}")
            time.sleep(0.1)


def hold(folder, name):
    """Runs as the first process of a member: makes its private folders, then adopts and buries orphans."""
    def mount(*arguments):
        subprocess.run(["mount", *arguments], check=True)

    # A process that libvirt's helper leaves behind comes to us; unburied, libvirt would take it for alive.
    subprocess.run(["hostname", name], check=True)
    mount("-t", "sysfs", "sysfs", "/sys")
    mount("-t", "tmpfs", "-o", "mode=0755,size=64m", "tmpfs", "/run")
    for path in ("/run/lock", "/run/libvirt", "/run/roost"):
        os.makedirs(path, exist_ok=True)
    # A power cycle of one host is a new boot of it, though the machine's kernel goes on.
    boot = folder / "boot-id"
    boot.write_text(str(uuid.uuid4()) + "\n")
    mount("--bind", str(boot), "/proc/sys/kernel/random/boot_id")
    # libvirtd resolves its own host's name at each start of a domain; without an answer it waits for ten seconds.
    names = folder / "hosts"
    members = Record(folder.parent).load()["members"]
    names.write_text("127.0.0.1 localhost\n" + "".join(f"{each['address']} {key}\n" for key, each in members.items()))
    mount("--bind", str(names), "/etc/hosts")
    servers = folder / "resolv.conf"
    servers.write_text("# The lab has no name servers: /etc/hosts knows every member.\n")
    mount("--bind", str(servers), "/etc/resolv.conf")
    if name.startswith("host"):
        hold_libvirt(folder, mount)
    (folder / "ready").touch()
    # Python would restart wait() after a handled signal; the default action of SIGTERM is right for PID 1: none.
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(0.2)


def hold_libvirt(folder, mount):
    own = folder / "libvirt"
    settings = own / "etc"
    if not settings.exists():
        shutil.copytree("/etc/libvirt", settings, symlinks=True)
        # No guest of the machine's own libvirt, and none of its networks, belongs to a lab host.
        for part in ("qemu", "storage", "secrets"):
            shutil.rmtree(settings / part, ignore_errors=True)
        (settings / "qemu.conf").write_text(
            'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nremember_owner = 0\n'
            'namespaces = []\ncgroup_controllers = []\n')
        # Made of the machine's hardware otherwise: then all hosts would be one.
        (settings / "libvirtd.conf").write_text(f'host_uuid = "{uuid.uuid4()}"\nauth_unix_rw = "none"\n')
    mount("--bind", str(settings), "/etc/libvirt")
    for path in LIBVIRT_FOLDERS:
        private = own / path[1:].replace("/", "-")
        private.mkdir(parents=True, exist_ok=True)
        os.makedirs(path, exist_ok=True)
        mount("--bind", str(private), path)
