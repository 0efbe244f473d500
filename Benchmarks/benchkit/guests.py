"""Real guests on this machine's libvirt: the small guest of the lab, one host with the real agent."""

import os
import subprocess
from pathlib import Path

from .programs import REPOSITORY, BenchmarkError, progress, run
from .site import needs_root

from labkit.guest import image as guest_image  # noqa: E402  (the site's import made Tests/Lab known)

URI = "qemu:///system"
NETWORK, BRIDGE, SUBNET = "roost-benchmark", "roostbench0", "192.168.179.0/24"
HOST = "benchmark-host"
PROGRAMS = ("virtlogd", "libvirtd")


def virsh(*words, check=True):
    result = subprocess.run(["virsh", "-q", "-c", URI, *map(str, words)], capture_output=True, text=True,
                            stdin=subprocess.DEVNULL)
    if check and result.returncode != 0:
        raise BenchmarkError(f"virsh {' '.join(map(str, words))}: {result.stderr.strip()}")
    return result.stdout


class Host:
    """libvirt, one agent, the guest's image and a flavor. To be used inside the site's block; leaves nothing behind."""

    def __init__(self, site, **settings):
        self.site = site
        self.settings = settings
        self.agent = None
        self.began = []

    @property
    def data(self):
        return self.site.home / HOST

    def __enter__(self):
        needs_root("it runs guests in libvirt")
        image = guest_image()
        try:
            self.start_libvirt()
            if NETWORK in virsh("net-list", "--all", "--name").split():
                raise BenchmarkError(f"there is a libvirt network {NETWORK}; does another benchmark run?")
            if any(name.startswith("roost-") for name in virsh("list", "--all", "--name").split()):
                raise BenchmarkError("Roost's guests run on this libvirt; an agent would remove those that it was not given")
            self.agent = self.site.start_agent(HOST, {
                "hypervisor": {"uri": URI},
                "network": {"name": NETWORK, "bridge": BRIDGE, "subnet": SUBNET}, **self.settings})
            # It first finds out whether KVM runs guests here.
            self.site.wait_for_nodes(1, seconds=300)
            self.site.add_image("guest", image.read_bytes(), "qcow2")
            self.site.add_flavor("guest", vcpus=1, ram_mib=128, disk_gib=1)
            # Guests more than processors are meant here.
            self.site.call("PATCH", f"/v1/nodes/{HOST}", {"cpu_allocation_ratio": 100})
            self.prefill()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        if self.agent:
            self.agent.stop()
        for name in virsh("list", "--all", "--name", check=False).split():
            # Those whose disks lie in this site's folder are ours, and no others.
            if str(self.site.home) + "/" in virsh("dumpxml", name, check=False):
                virsh("destroy", name, check=False)
                virsh("undefine", name, check=False)
        if self.agent:
            virsh("net-destroy", NETWORK, check=False)
            virsh("net-undefine", NETWORK, check=False)
        for pid in reversed(self.began):
            os.kill(pid, 15)

    def start_libvirt(self):
        if run([str(REPOSITORY / "packaging/start-libvirt")]) == "started":
            self.began = [int(Path(f"/run/{name}.pid").read_text()) for name in PROGRAMS]

    def prefill(self):
        """The image is on the host before anything is measured."""
        self.site.call("POST", "/v1/images/guest/prefill", {"nodes": [HOST]}, expect=202)
        self.site.wait("the host holds the image", lambda: [
            node for node in self.site.call("GET", "/v1/images/guest")["nodes"] if node["state"] == "held"], 300)

    def accelerator(self):
        return self.site.call("GET", f"/v1/nodes/{HOST}")["accelerator"]

    def versions(self):
        node = self.site.call("GET", f"/v1/nodes/{HOST}")
        return f"libvirt {node['libvirt_version']}, QEMU {node['hypervisor_version']}, accelerator {node['accelerator']}"

    # Guests

    def create(self, name):
        return self.site.call("POST", "/v1/instances", {"name": name, "flavor": "guest", "image": "guest"}, expect=202)

    def wait_until_active(self, count, seconds):
        def active():
            instances = self.site.pages("/v1/instances")
            failed = [one for one in instances if one["status"] == "ERROR"]
            if failed:
                raise BenchmarkError(f"{failed[0]['name']} is in ERROR: {failed[0]['status_reason']}")
            done = sum(one["status"] == "ACTIVE" for one in instances)
            progress(f"{done} of {count} guests answer")
            return done >= count

        self.site.wait(f"{count} guests answer", active, seconds, pause=2)

    def delete(self, identifier):
        self.site.call("DELETE", f"/v1/instances/{identifier}", expect=202)
        self.site.wait(f"{identifier} is deleted", lambda: self.site.request(
            "GET", f"/v1/instances/{identifier}", token=self.site.token())[0] == 404
            or self.site.call("GET", f"/v1/instances/{identifier}")["status"] == "DELETED", 120)
