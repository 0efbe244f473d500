"""Images sent beforehand: limited, paused, cancelled, waited for, and by policy."""

import hashlib
import os
import tempfile
import time
from pathlib import Path

from fleet import LabTest, wait_until
from labkit import network

MIB = 1 << 20
# What headers, acknowledgements and heartbeats add to what a limit allows, and what may be saved up for a moment.
OVERHEAD, BURST_BYTES = 1.12, MIB // 2


class Prefill(LabTest):
    def setUp(self):
        self.policies, self.images = [], []

    def tearDown(self):
        fleet = self.fleet
        super().tearDown()
        fleet.roost("site", "limit", "--send", "none", "--receive", "none", "--manager-send", "none", "--total", "none")
        for policy in self.policies:
            fleet.call("DELETE", f"/v1/image-policies/{policy}", expect=(204, 404))
        for image in self.images:
            for operation in fleet.pages("/v1/operations"):
                if operation["status"] == "running" and operation["resource"]["id"] == image:
                    fleet.call("POST", f"/v1/operations/{operation['id']}/cancel", {"drop": True})
            fleet.call("DELETE", f"/v1/images/{image}", expect=(202, 204, 404, 409))

    def image(self, name, mib, *options):
        """An image of noise, which nothing can shrink."""
        with tempfile.NamedTemporaryFile(dir=self.fleet.record.folder) as file:
            for _ in range(mib):
                file.write(os.urandom(MIB))
            file.flush()
            made = self.fleet.roost_json("image", "create", name, "--file", file.name, "--format", "raw", *options)
        self.images.append(made["id"])
        return made["id"]

    def prefill(self, image, *hosts):
        return self.fleet.call("POST", f"/v1/images/{image}/prefill", {"nodes": list(hosts)}, expect=202)["id"]

    def hosts_of(self, operation):
        current = self.fleet.call("GET", f"/v1/operations/{operation}", expect=200)
        return {host["node"]: host for host in current["result"]["hosts"]}

    def assert_succeeds(self, operation):
        ended = self.fleet.operation(operation)
        self.assertEqual(ended["status"], "succeeded", ended)

    def files_of_image(self, host, image):
        """Everything that a host keeps of an image, whole or in part."""
        folder = Path(self.fleet.host(host).folder) / "agent-data/images/_base"
        return sorted(path.name for path in folder.glob(hashlib.sha1(image.encode()).hexdigest() + "*"))

    def moved(self, direction, *members):
        """Bytes that went over the links of members, as the kernel counts them."""
        links = network.links()
        return sum(links[member][direction + "_bytes"] for member in members)

    def rate(self, direction, seconds, *groups):
        """Bytes a second over the links of the busiest of some groups of members."""
        before, began = [self.moved(direction, *group) for group in groups], time.monotonic()
        time.sleep(seconds)
        after, took = [self.moved(direction, *group) for group in groups], time.monotonic() - began
        return max(late - early - BURST_BYTES for early, late in zip(before, after)) / took

    def assert_limited(self, name, limit, direction, *groups):
        """A limit takes hold while a transfer runs, and then the links carry that much and no more."""
        wait_until(f"{name}: the limit takes hold", lambda: self.rate(direction, 0.5, *groups) <= limit * OVERHEAD, 15)
        rate = self.rate(direction, 1.5, *groups)
        print(f"    {name}: {rate / MIB:.2f} MiB/s of {limit / MIB:.2f}")
        self.assertLess(rate, limit * OVERHEAD, name)
        self.assertGreater(rate, limit * 0.3, f"{name}: it goes on, though slowly")

    def test_limits_hold_on_the_wire_and_change_while_images_travel(self):
        fleet, hosts = self.fleet, ["host1", "host2", "host3"]
        image = self.image("limited", 64)
        fleet.roost("site", "limit", "--total", "6M")
        operation = self.prefill(image, *hosts)
        wait_until("all receive", lambda: all(one["progress"] > 0 for one in self.hosts_of(operation).values()), 30,
                   explain=lambda: self.hosts_of(operation))
        self.assert_limited("what all nodes receive", 6 * MIB, "received", hosts)
        fleet.roost("site", "limit", "--total", "none", "--receive", "4M")
        self.assert_limited("what each node receives", 4 * MIB, "received", *[[host] for host in hosts])
        # A manager looks up its own limits every three seconds.
        fleet.roost("site", "limit", "--manager-send", "1M")
        self.assert_limited("what the manager sends", MIB, "sent", ["manager"])
        fleet.roost("site", "limit", "--receive", "none", "--manager-send", "none")
        self.assert_succeeds(operation)

    def test_paused_and_resumed_over_restarts_and_only_the_rest_is_sent(self):
        fleet, size, pair = self.fleet, 32 * MIB, ("host1", "host2")
        image = self.image("paused", size // MIB)
        fleet.roost("site", "limit", "--receive", "4M")
        began = time.monotonic()
        operation = self.prefill(image, *pair)
        wait_until("host1 has a quarter", lambda: self.hosts_of(operation)["host1"]["progress"] >= 25, 60,
                   explain=lambda: self.hosts_of(operation))
        fastest = 0.25 * size / MIB / (time.monotonic() - began)
        self.assertLess(fastest, 6, "the limit of 4 MiB/s holds, but for a chunk on its way")
        fleet.roost("operation", "pause", operation)
        wait_until("both stand still", lambda: self.rate("received", 0.5, pair) <= 0, 10)
        stood = self.hosts_of(operation)
        self.assertEqual({host["state"] for host in stood.values()}, {"paused"})
        self.fleet.site.manager.kill("manager")
        self.fleet.host("host1").kill("agent")
        self.restore()
        moved = self.moved("received", *pair)
        # Long enough for either to go on with what it was told not to.
        time.sleep(2)
        self.assertLess(self.moved("received", *pair) - moved, BURST_BYTES, "nothing moves while it is paused")
        now = self.hosts_of(operation)
        self.assertEqual({host["state"] for host in now.values()}, {"paused"})
        for host in pair:
            self.assertGreaterEqual(now[host]["progress"], stood[host]["progress"], f"{host} keeps what came")
            self.assertLess(now[host]["progress"], 90, host)
        moved = {host: self.moved("received", host) for host in pair}
        fleet.roost("site", "limit", "--receive", "none")
        fleet.roost("operation", "resume", operation)
        self.assert_succeeds(operation)
        for host, before in moved.items():
            rest = size * (100 - now[host]["progress"]) / 100
            # A percent is told as a whole number.
            self.assertLess(self.moved("received", host) - before, rest * OVERHEAD + size / 100 + BURST_BYTES,
                            f"{host} had {now[host]['progress']} %")
        again = fleet.roost("image", "prefill", image, "host[1-3]", "--quiet")
        self.assertIn("[ ok ] host1  it was there already", again.stdout)
        self.assertRegex(again.stdout, r"\[ ok \] host[12] --> host3  34MB")
        self.assertIn("file size: 34MB", again.stdout)

    def test_cancelled_keeps_what_came_and_drop_removes_it(self):
        fleet = self.fleet
        image = self.image("cancelled", 24)
        fleet.roost("site", "limit", "--receive", "8M")
        operation = self.prefill(image, "host1")
        wait_until("a third is there", lambda: self.hosts_of(operation)["host1"]["progress"] >= 33, 60)
        fleet.roost("operation", "cancel", operation)
        failed = fleet.roost("operation", "wait", operation, check=False)
        self.assertEqual(failed.returncode, 1)
        self.assertNotEqual(self.files_of_image("host1", image), [])
        fleet.roost("site", "limit", "--receive", "none")
        second = self.prefill(image, "host1")
        self.assertGreaterEqual(self.hosts_of(second)["host1"]["progress"], 33, "it goes on from there")
        self.assert_succeeds(second)
        fleet.roost("site", "limit", "--receive", "4M")
        third = self.prefill(image, "host2")
        wait_until("some of it came", lambda: self.hosts_of(third)["host2"]["progress"] > 0, 60)
        fleet.roost("operation", "cancel", third, "--drop")
        wait_until("host2 has nothing of it", lambda: "host2" not in {
            one["node"] for one in fleet.call("GET", f"/v1/images/{image}", expect=200)["nodes"]}, 30)
        wait_until("nor on its disk", lambda: self.files_of_image("host2", image) == [], 30,
                   explain=lambda: self.files_of_image("host2", image))

    def test_a_policy_reaches_a_host_that_is_enabled_later_and_an_image_that_takes_the_name(self):
        fleet = self.fleet
        hosts = [host.name for host in fleet.hosts()]
        fleet.roost("node", "disable", "host3", "--for-real")
        first = self.image("everywhere", 8)
        policy = fleet.roost_json("image", "policy", "create", "everywhere", "--all")
        self.policies.append(policy["id"])

        def state():
            return fleet.call("GET", f"/v1/image-policies/{policy['id']}", expect=200)

        wait_until("the enabled hosts hold it", lambda: state()["state"] == "satisfied", 60, explain=state)
        self.assertEqual([one["node"] for one in state()["lacking"]], ["host3"])
        self.assertIn("disabled", state()["lacking"][0]["reason"])
        self.assertEqual(self.files_of_image("host3", first), [])
        fleet.roost("node", "enable", "host3")
        wait_until("host3 holds it too", lambda: (state()["holding"], state()["state"]) == (len(hosts), "satisfied"), 60, explain=state)
        self.assertNotEqual(self.files_of_image("host3", first), [])
        fleet.call("PATCH", f"/v1/images/{first}", {"name": "everywhere-retired"}, expect=200)
        second = self.image("everywhere", 8)
        wait_until("the new one travels", lambda: (state()["image_id"], state()["state"]) == (second, "satisfied"), 60,
                   explain=state)
        for host in hosts:
            self.assertNotEqual(self.files_of_image(host, second), [], host)
