"""Three hosts: an image in one chain, six instances through their whole life."""

from collections import Counter

from fleet import FLAVOR, IMAGE, KEY, LabTest, wait_until
from labkit import network


class ImageChain(LabTest):
    def test_prefill_carries_the_image_over_the_managers_link_about_once(self):
        fleet, names = self.fleet, [host.name for host in self.fleet.hosts()]
        before = network.links()
        operation = fleet.call("POST", f"/v1/images/{IMAGE}/prefill", {"nodes": names}, expect=202)
        operation = fleet.operation(operation["id"])
        self.assertEqual(operation["status"], "succeeded", operation)
        after = network.links()

        hosts = operation["result"]["hosts"]
        self.assertEqual({one["node"]: one["state"] for one in hosts}, {name: "held" for name in names}, hosts)
        held = {one["node"]: one["state"] for one in fleet.image()["nodes"]}
        self.assertEqual(held, {name: "held" for name in names})

        sent = after["manager"]["sent_bytes"] - before["manager"]["sent_bytes"]
        copies = [after[name]["received_bytes"] - before[name]["received_bytes"] for name in names]
        one_copy = min(copies)
        self.assertGreater(one_copy, 40 << 20, "each host received the padding, which nothing can shrink")
        self.assertLess(sent, 1.25 * one_copy, f"the manager sent {sent} bytes for copies of {copies}")
        served = [after[name]["sent_bytes"] - before[name]["sent_bytes"] for name in names]
        self.assertEqual(sum(1 for each in served if each > 0.8 * one_copy), len(names) - 1,
                         f"all but the last of the chain served one copy each: {served}")


class WholeLife(LabTest):
    def test_six_instances_from_creation_to_deletion(self):
        fleet = self.fleet
        made = fleet.roost_json("instance", "create", "six", "--flavor", FLAVOR, "--image", IMAGE, "--key", KEY,
                                "--count", "6", "--wait")
        self.assertEqual([one["name"] for one in made], [f"six-{number}" for number in range(1, 7)])
        made = [fleet.instance(one["id"]) for one in made]
        self.assertEqual({one["status"] for one in made}, {"ACTIVE"})
        self.assertEqual(sorted(Counter(one["node"] for one in made).values()), [2, 2, 2], "spread over the hosts")
        for one in made:
            self.assertIn(one["id"], fleet.domains(one["node"]))
            self.assertEqual(fleet.ssh(one, "hostname").stdout.strip(), one["name"])
            fleet.ssh(one, f"echo {one['id']} >/root/mark && sync")

        for one in made:
            fleet.call("POST", f"/v1/instances/{one['id']}/stop", {}, expect=202)
        for one in made:
            fleet.wait_for_status(one["id"], "STOPPED")
        for host in fleet.hosts():
            self.assertEqual(fleet.domains(host, every=True), set(), "stopping removes the domain (CTL-03)")

        for one in made:
            fleet.call("POST", f"/v1/instances/{one['id']}/start", {}, expect=202)
        for one in made:
            again = fleet.wait_for_status(one["id"], "ACTIVE")
            self.assertEqual({key: again[key] for key in ("id", "name", "addresses")},
                             {key: one[key] for key in ("id", "name", "addresses")})
            self.assertEqual(fleet.ssh(again, "cat /root/mark").stdout.strip(), one["id"], "the disk kept its content")
            self.assertEqual(fleet.ssh(again, "hostname").stdout.strip(), one["name"])

        for one in made:
            fleet.roost("instance", "delete", one["id"])
        for one in made:
            fleet.wait_until_gone(one["id"])
            self.assertEqual(fleet.files_of(one["node"], one["id"]), [], "the disk is gone")
        for host in fleet.hosts():
            self.assertEqual(fleet.domains(host, every=True), set())

    def test_user_data_runs_once(self):
        fleet = self.fleet
        [one] = fleet.create("script", user_data="#!/bin/sh\necho ran >>/root/ran\n")
        wait_until("user data ran", lambda: fleet.ssh(one, "cat /root/ran", check=False).stdout == "ran\n", 20)
        started = fleet.domain_process(one["node"], one["id"])
        fleet.call("POST", f"/v1/instances/{one['id']}/reboot", {}, expect=202)
        wait_until("the guest rebooted", lambda: fleet.instance(one["id"])["status"] == "ACTIVE"
                   and (fleet.ssh(one, "cat /proc/uptime", check=False).stdout or "999").split()[0] < "30"
                   and fleet.ssh(one, "true", check=False).returncode == 0, 90)
        self.assertEqual(fleet.ssh(one, "cat /root/ran").stdout, "ran\n")
        self.assertIsNotNone(started)

    def test_deleting_while_the_host_is_away_is_done_when_it_comes_back(self):
        fleet = self.fleet
        [one] = fleet.create("away")
        fleet.host(one["node"]).kill("agent")
        fleet.call("DELETE", f"/v1/instances/{one['id']}", expect=202)
        fleet.site.start_agent(fleet.host(one["node"]))
        fleet.wait_until_gone(one["id"])
        self.assertNotIn(one["id"], fleet.domains(one["node"], every=True))
        self.assertEqual(fleet.files_of(one["node"], one["id"]), [])
