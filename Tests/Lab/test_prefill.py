"""Images sent beforehand: limited, paused, cancelled, waited for, and by policy."""

import os
import tempfile
import time

from fleet import LabTest, wait_until

MIB = 1 << 20


class Prefill(LabTest):
    def setUp(self):
        self.policies, self.images = [], []

    def tearDown(self):
        fleet = self.fleet
        fleet.roost("site", "limit", "--send", "none", "--receive", "none", "--manager-send", "none", "--total", "none")
        for policy in self.policies:
            fleet.call("DELETE", f"/v1/image-policies/{policy}", expect=(204, 404))
        super().tearDown()
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

    def hosts_of(self, operation):
        current = self.fleet.call("GET", f"/v1/operations/{operation}", expect=200)
        return {host["node"]: host for host in current["result"]["hosts"]}

    def test_paused_and_resumed_over_restarts_and_only_the_rest_is_sent(self):
        fleet = self.fleet
        image = self.image("paused", 64)
        fleet.roost("site", "limit", "--receive", "4M")
        began = time.monotonic()
        operation = fleet.call("POST", f"/v1/images/{image}/prefill", {"nodes": ["host1", "host2"]}, expect=202)["id"]
        wait_until("host1 has a quarter", lambda: self.hosts_of(operation)["host1"]["progress"] >= 25, 60,
                   explain=lambda: self.hosts_of(operation))
        fastest = 0.25 * 64 / (time.monotonic() - began)
        self.assertLess(fastest, 8, "the limit of 4 MiB/s holds, but for a chunk on its way")
        fleet.roost("operation", "pause", operation)
        wait_until("both stand still", lambda: {host["state"] for host in self.hosts_of(operation).values()} == {"paused"}, 10)
        self.fleet.site.manager.kill("manager")
        self.fleet.host("host1").kill("agent")
        self.restore()
        time.sleep(3)
        stood = self.hosts_of(operation)
        time.sleep(3)
        now = self.hosts_of(operation)
        self.assertEqual({name: one["progress"] for name, one in now.items()},
                         {name: one["progress"] for name, one in stood.items()}, "nothing moves while it is paused")
        self.assertLess(now["host1"]["progress"], 90)
        fleet.roost("site", "limit", "--receive", "none")
        fleet.roost("operation", "resume", operation)
        ended = fleet.operation(operation)
        self.assertEqual(ended["status"], "succeeded", ended)
        again = fleet.roost("image", "prefill", image, "host[1-3]", "--quiet")
        self.assertIn("[ ok ] host1  it was there already", again.stdout)
        self.assertRegex(again.stdout, r"\[ ok \] host[12] --> host3  67MB")
        self.assertIn("file size: 67MB", again.stdout)

    def test_cancelled_keeps_what_came_and_drop_removes_it(self):
        fleet = self.fleet
        image = self.image("cancelled", 48)
        fleet.roost("site", "limit", "--receive", "4M")
        operation = fleet.call("POST", f"/v1/images/{image}/prefill", {"nodes": ["host1"]}, expect=202)["id"]
        wait_until("a third is there", lambda: self.hosts_of(operation)["host1"]["progress"] >= 33, 60)
        fleet.roost("operation", "cancel", operation)
        failed = fleet.roost("operation", "wait", operation, check=False)
        self.assertEqual(failed.returncode, 1)
        fleet.roost("site", "limit", "--receive", "none")
        second = fleet.call("POST", f"/v1/images/{image}/prefill", {"nodes": ["host1"]}, expect=202)
        self.assertGreaterEqual(self.hosts_of(second["id"])["host1"]["progress"], 33, "it goes on from there")
        self.assertEqual(fleet.operation(second["id"])["status"], "succeeded")
        fleet.roost("site", "limit", "--receive", "1M")
        third = fleet.call("POST", f"/v1/images/{image}/prefill", {"nodes": ["host2"]}, expect=202)["id"]
        wait_until("some of it came", lambda: self.hosts_of(third)["host2"]["progress"] > 0, 60)
        fleet.roost("operation", "cancel", third, "--drop")
        wait_until("host2 has nothing of it", lambda: "host2" not in {
            one["node"] for one in fleet.call("GET", f"/v1/images/{image}", expect=200)["nodes"]}, 30)

    def test_a_policy_reaches_a_host_that_is_enabled_later_and_an_image_that_takes_the_name(self):
        fleet = self.fleet
        fleet.roost("node", "disable", "host3", "--for-real")
        first = self.image("everywhere", 8)
        policy = fleet.roost_json("image", "policy", "create", "everywhere", "--all")
        self.policies.append(policy["id"])

        def state():
            return fleet.call("GET", f"/v1/image-policies/{policy['id']}", expect=200)

        wait_until("the enabled hosts hold it", lambda: state()["state"] == "satisfied", 60, explain=state)
        self.assertEqual([one["node"] for one in state()["lacking"]], ["host3"])
        self.assertIn("disabled", state()["lacking"][0]["reason"])
        fleet.roost("node", "enable", "host3")
        wait_until("host3 holds it too", lambda: (state()["holding"], state()["state"]) == (3, "satisfied"), 60, explain=state)
        fleet.call("PATCH", f"/v1/images/{first}", {"name": "everywhere-retired"}, expect=200)
        second = self.image("everywhere", 8)
        wait_until("the new one travels", lambda: (state()["image_id"], state()["state"]) == (second, "satisfied"), 60,
                   explain=state)
