"""Chains of images while hosts, links and the manager fail: everybody ends with what the image is, and little travels twice."""

import hashlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from fleet import LabTest, wait_until
from labkit import network
from labkit.record import resume

MIB = 1 << 20
SIZE = 192 * MIB
# What may travel twice, as a share of the image.
TWICE = 0.05
STOPPED_SECONDS = 10


class Chain(LabTest):
    """One prefill of a new image on all hosts; the fault is in the test."""

    def setUp(self):
        self.files = []
        self.hosts = [host.name for host in self.fleet.hosts()]
        self.middle = self.hosts[len(self.hosts) // 2]

    def tearDown(self):
        super().tearDown()
        for file in self.files:
            file.unlink(missing_ok=True)
        self.fleet.call("DELETE", f"/v1/images/{self.image['id']}", expect=(204, 404, 409))

    def make_image(self, size=SIZE):
        """Random data, so that nothing is compressed, as a qcow2; and the SHA-256 of what `qemu-img convert` makes of it."""
        raw, qcow = self.fleet.record.folder / "chain.raw", self.fleet.record.folder / "chain.qcow2"
        self.files = [raw, qcow]
        with open(raw, "wb") as file:
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow], check=True)
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", qcow, raw], check=True)
        with open(raw, "rb") as file:
            self.digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = f"chain-{time.monotonic_ns()}"
        self.fleet.roost("image", "create", name, "--file", str(qcow), "--format", "qcow2")
        self.image = wait_until("the image is active", lambda: self.active(name), 120)

    def active(self, name):
        image = self.fleet.call("GET", f"/v1/images/{name}", expect=200)
        self.assertNotEqual(image["status"], "error", image)
        return image if image["status"] == "active" else None

    def prefill(self, hosts=None):
        answer = self.fleet.insist(
            "POST", f"/v1/images/{self.image['id']}/prefill", {"nodes": hosts or self.hosts}, expect=202)
        self.operation, self.began = answer["id"], time.monotonic()

    def progress(self, host):
        operation = self.fleet.insist("GET", f"/v1/operations/{self.operation}", expect=200)
        return next(each["progress"] for each in operation["result"]["hosts"] if each["node"] == host)

    def await_progress(self, host, percent):
        wait_until(f"{host} has {percent} %", lambda: self.progress(host) >= percent, 120, pause=0.1)

    def path(self, host):
        name = hashlib.sha1(self.image["id"].encode()).hexdigest()
        return Path(self.fleet.host(host).folder) / "agent-data/images/_base" / name

    def await_files(self, hosts, seconds=120):
        for host in hosts:
            wait_until(f"{host} has the image", self.path(host).exists, seconds, explain=self.states)
            with open(self.path(host), "rb") as file:
                self.assertEqual(hashlib.file_digest(file, "sha256").hexdigest(), self.digest, f"P7: {host}")

    def states(self):
        return self.fleet.call("GET", f"/v1/operations/{self.operation}")["result"]["hosts"]

    def received(self, host):
        """What the agent says it received for the image in the life in which it finished."""
        lines = [line for line in self.fleet.host(host).log("agent").read_text(errors="replace").splitlines()
                 if "image complete" in line and self.image["id"] in line]
        self.assertTrue(lines, f"{host} does not say that it has the image")
        return int(re.search(r"received_bytes[\"=: ]+(\d+)", lines[-1]).group(1))

    def assert_little_twice(self, hosts, earlier=0):
        """`earlier`: what agents received in lives that ended before they had the image."""
        twice = earlier + sum(self.received(host) - SIZE for host in hosts)
        print(f"    {max(0, twice) / MIB:.1f} MiB were sent twice, {100 * max(0, twice) / SIZE:.1f} % of the image")
        self.assertLess(twice, TWICE * SIZE + len(hosts) * MIB / 4, f"{twice / MIB:.1f} MiB were sent twice")

    def causes(self):
        events = self.fleet.pages(f"/v1/events?resource={self.image['id']}")
        return [(event["data"].get("node"), event["data"].get("cause")) for event in events
                if event["kind"] == "image.chain_changed"]

    def others(self, *but):
        return [host for host in self.hosts if host not in but]

    def took(self):
        print(f"    {time.monotonic() - self.began:.1f} s since the prefill began")

    def test_killed_agent_in_the_middle(self):
        self.make_image()
        self.prefill()
        self.await_progress(self.middle, 50)
        self.fleet.host(self.middle).kill("agent")
        # Noise has no holes: what it wrote is what it had received and verified.
        partial = self.path(self.middle).with_name(self.path(self.middle).name + ".partial")
        had = partial.stat().st_blocks * 512
        time.sleep(2)
        self.fleet.site.start_agent(self.fleet.host(self.middle))
        self.await_files(self.hosts)
        self.took()
        self.assert_little_twice(self.hosts, earlier=had)
        self.assertLess(self.received(self.middle), 0.75 * SIZE, "it goes on from what it had")
        self.assertIn((self.middle, "disconnected"), self.causes())

    def test_stopped_agent_and_a_new_life_of_the_manager(self):
        self.make_image()
        self.prefill()
        self.await_progress(self.middle, 30)
        agent = self.fleet.host(self.middle)
        agent.kill("agent", signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            wait_until("the chain goes around it",
                       lambda: any(node == self.middle for node, _ in self.causes()), 10, pause=0.1)
            print(f"    planned anew and told after {time.monotonic() - stopped:.1f} s")
            self.await_progress(self.hosts[0], 60)
            self.fleet.site.manager.kill("manager")
            self.fleet.site.start_manager()
            time.sleep(max(0, STOPPED_SECONDS - (time.monotonic() - stopped)))
        finally:
            resume(agent.process("agent"))
        self.await_files(self.hosts)
        self.took()
        self.assert_little_twice(self.hosts)

    def test_cut_link_that_heals(self):
        self.make_image()
        self.prefill()
        self.await_progress(self.middle, 30)
        self.lab("cut", self.middle)
        self.await_files(self.others(self.middle))
        self.took()
        self.assert_little_twice(self.others(self.middle))
        self.lab("heal", self.middle)
        self.await_files([self.middle])
        self.took()
        self.assertLess(self.received(self.middle), (1 + TWICE) * SIZE, "it goes on from what it had")

    def test_slow_host_in_the_middle(self):
        """A fifth of the rate: the chain goes around it, and it is served at the end (how much time that costs the others is
        measured by `Benchmarks/fanout`)."""
        self.make_image()
        rate = self.fleet.host(self.middle).content["rate"]
        network.shape(self.middle, "40mbit", None)
        try:
            self.prefill()
            # One that was slow before, as after the other tests, is planned to be the last.
            isLast = all(state["source"] != self.middle for state in self.states())
            self.await_files(self.others(self.middle), seconds=SIZE / MIB / 8)
            self.took()
            self.assertTrue(isLast or (self.middle, "slow") in self.causes(), self.causes())
        finally:
            network.shape(self.middle, rate, None)
        self.await_files([self.middle])
        self.took()
        self.assert_little_twice(self.hosts)

    def test_corrupt_chunk_on_the_disk_of_a_source(self):
        self.make_image(48 * MIB)
        first = self.hosts[0]
        self.prefill([first])
        self.await_files([first])
        # Beneath the agent, which has verified it.
        with open(self.path(first), "r+b") as file:
            file.seek(20 * MIB + 12345)
            byte = file.read(1)
            file.seek(20 * MIB + 12345)
            file.write(bytes([byte[0] ^ 1]))
        self.prefill(self.others(first))
        self.await_files(self.others(first))
        self.took()
        wait_until("it is told", lambda: (first, "source_lied") in self.causes(), 20, explain=self.causes)
