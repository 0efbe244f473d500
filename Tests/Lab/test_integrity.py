"""Bits that flip on the wire, on disks and in a manifest: nothing unverified is served, published or booted (P7)."""

import contextlib
import hashlib
import os
import re
import sys
import time
from pathlib import Path

from fleet import LabTest, wait_until
from labkit import relay

MIB = 1 << 20
SIZE = 24 * MIB
RELAY_PORT = 7409


class Integrity(LabTest):
    def setUp(self):
        self.images = []

    def tearDown(self):
        super().tearDown()
        for image in self.images:
            self.fleet.call("DELETE", f"/v1/images/{image}", expect=(202, 204, 404, 409))

    def image(self, name):
        """An image of noise: each bit of it counts."""
        path = self.fleet.record.folder / f"{name}.raw"
        path.write_bytes(os.urandom(SIZE))
        self.digest = digest_of(path)
        made = self.fleet.roost_json("image", "create", name, "--file", str(path), "--format", "raw")
        path.unlink()
        self.images.append(made["id"])
        # What is packed is not written any more.
        staging = self.fleet.site.data / "images/staging"
        wait_until("the image is packed", lambda: not any(staging.iterdir()), 60)
        return made["id"]

    def prefill(self, image, *hosts):
        return self.fleet.call("POST", f"/v1/images/{image}/prefill", {"nodes": list(hosts)}, expect=202)["id"]

    def state(self, operation, host):
        hosts = self.fleet.call("GET", f"/v1/operations/{operation}", expect=200)["result"]["hosts"]
        return next(one for one in hosts if one["node"] == host)

    def assert_arrives(self, operation, image, *hosts):
        ended = self.fleet.operation(operation, seconds=90)
        self.assertEqual(ended["status"], "succeeded", ended)
        for host in hosts:
            self.assertEqual(digest_of(self.path(host, image)), self.digest, f"P7: {host}")

    def path(self, host, image):
        return Path(self.fleet.host(host).folder) / "agent-data/images/_base" / hashlib.sha1(image.encode()).hexdigest()

    def log(self, host):
        return self.fleet.host(host).log("agent").read_text(errors="replace")

    @contextlib.contextmanager
    def told_to_come_by(self, host, port):
        """Meanwhile the host's agent tells everybody another port for its chunks."""
        configuration = host.folder / "agent.yaml"
        before = configuration.read_text()
        address = host.content["address"]
        after = before.replace(f'advertise: "{address}:7402"', f'advertise: "{address}:{port}"')
        self.assertNotEqual(before, after)
        try:
            configuration.write_text(after)
            self.restart(host)
            yield
        finally:
            configuration.write_text(before)
            self.restart(host)

    def restart(self, host):
        if host.is_running("agent"):
            host.kill("agent")
        before = self.sessions(host)
        self.fleet.site.start_agent(host)
        wait_until(f"{host.name} is back", lambda: self.sessions(host) > before, 60)

    def sessions(self, host):
        return self.log(host.name).count("session with the manager opened")

    def test_on_the_wire(self):
        """One bit of each 2 MiB that a host sends, beneath its TLS."""
        giver = self.fleet.host("host1")
        image = self.image("wire")
        self.assert_arrives(self.prefill(image, giver.name), image, giver.name)
        log = giver.log("relay")
        log.unlink(missing_ok=True)
        giver.start("relay", [sys.executable, relay.__file__, giver.content["address"], str(RELAY_PORT), "7402", str(2 * MIB)])
        try:
            with self.told_to_come_by(giver, RELAY_PORT):
                operation = self.prefill(image, "host2", "host3")
                self.assert_arrives(operation, image, "host2", "host3")
        finally:
            giver.kill("relay")
        flips = log.read_text().count("flipped")
        print(f"    {flips} bits were flipped")
        self.assertGreater(flips, 0, "the data came by the relay")

    def test_in_the_managers_manifest_and_chunks(self):
        """What the head of the chain itself has wrong on its disk goes nowhere; mended, it is gone on with."""
        for name, offset in (("manifest", -7), ("chunks.pack", SIZE // 2 + 4321)):
            with self.subTest(name):
                image = self.image(f"rotten-{name}")
                file = self.fleet.site.data / "images" / image / name
                flip(file, offset)
                self.restart_manager()
                operation = self.prefill(image, "host1", "host2")
                wait_until("host1 refuses it", lambda: self.state(operation, "host1")["reason"], 30,
                           explain=lambda: self.state(operation, "host1"))
                print(f"    {name}: {self.state(operation, 'host1')['reason']}")
                # Long enough to try again and again.
                time.sleep(2)
                for host in ("host1", "host2"):
                    self.assertFalse(self.path(host, image).exists(), f"P7: {host}")
                    self.assertNotEqual(self.state(operation, host)["state"], "held", host)
                flip(file, offset)
                self.restart_manager()
                # Otherwise it does not ask a source that lied for ten minutes.
                self.restart(self.fleet.host("host1"))
                self.assert_arrives(operation, image, "host1", "host2")

    def restart_manager(self):
        """It keeps manifests in memory."""
        self.fleet.site.manager.kill("manager")
        self.fleet.site.start_manager()
        self.fleet.site.wait_for_nodes([host.name for host in self.fleet.hosts()])

    def test_in_a_cached_image_that_is_booted(self):
        """Beneath an agent that is not there to see it: the image is compared before a guest gets it, and mended."""
        fleet, host = self.fleet, self.fleet.host("host1")
        identifier = fleet.image()["id"]
        fleet.operation(self.prefill(identifier, host.name))
        path = self.path(host.name, identifier)
        good = digest_of(path)
        host.kill("agent")
        flip(path, data_in(path) + 4321)
        self.assertNotEqual(digest_of(path), good)
        self.restart(host)
        made, = fleet.create("compared", node=host.name)
        self.assertEqual(digest_of(path), good, "P7: what the guest reads is what was registered")
        self.assertRegex(self.log(host.name), re.compile("corrupt", re.IGNORECASE))
        self.assertEqual(made["node"], host.name)
        wait_until("the guest answers", lambda: fleet.ssh(made, "true", check=False).returncode == 0, 120)


def flip(path, offset):
    """One bit; an offset below 0 counts from the end."""
    with open(path, "r+b") as file:
        place = file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 8]))


def data_in(path):
    """Where a sparse file has its first data behind the first few sectors."""
    with open(path, "rb") as file:
        return os.lseek(file.fileno(), MIB, os.SEEK_DATA)


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
