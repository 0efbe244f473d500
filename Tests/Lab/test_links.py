"""A host's link is cut for a minute."""

import os
import time

from fleet import HEARTBEAT_SECONDS, USAGE_INTERVAL_SECONDS, LabTest, wait_until

CUT_SECONDS = int(os.environ.get("LAB_CUT_SECONDS", "60"))


class CutLink(LabTest):
    def test_suspect_then_down_guests_untouched_usage_counted_once(self):
        fleet = self.fleet
        [one] = fleet.create("island", node="host2")
        process, uptime, began = fleet.domain_process("host2", one["id"]), fleet.uptime(one), time.monotonic()

        self.lab("cut", "host2")
        cut, seen = time.monotonic(), {}
        while time.monotonic() - cut < CUT_SECONDS:
            seen.setdefault(fleet.node("host2")["alive"], time.monotonic() - cut)
            time.sleep(0.1)
        self.assertEqual(list(seen), ["alive", "suspect", "down"], f"states in the order they came: {seen}")
        self.assertLess(seen["suspect"], 5 * HEARTBEAT_SECONDS, seen)
        self.assertLess(seen["down"], 8 * HEARTBEAT_SECONDS, seen)
        self.assertGreater(seen["down"], 4 * HEARTBEAT_SECONDS, seen)
        # P1: the manager never gives the instance to another host because it cannot see it.
        self.assertEqual([host.name for host in fleet.hosts() if one["id"] in fleet.domains(host)], ["host2"])
        stale = fleet.server_seconds(one)

        self.lab("heal", "host2")
        healed = time.monotonic()
        wait_until("the node is alive again", lambda: fleet.node("host2")["alive"] == "alive", 60)
        print(f"    alive {time.monotonic() - healed:.1f} s after healing")
        self.assertEqual(fleet.domain_process("host2", one["id"]), process, "P5: the guest was not touched")
        self.assertGreater(fleet.uptime(one), uptime + 0.8 * (time.monotonic() - began))
        self.assertEqual(fleet.instance(one["id"])["status"], "ACTIVE")

        # P4: the minute was spooled, and counts once.
        wait_until("the spooled minute is counted", lambda: fleet.server_seconds(one) > stale + CUT_SECONDS - 10, 60,
                   explain=lambda: fleet.server_seconds(one))
        fleet.assert_usage_agrees(self, one, faults=1)
        time.sleep(2 * USAGE_INTERVAL_SECONDS)
        fleet.assert_usage_agrees(self, one, faults=1)

    def test_new_instances_avoid_a_host_that_is_away(self):
        fleet = self.fleet
        self.lab("cut", "host3")
        wait_until("the node is down", lambda: fleet.node("host3")["alive"] == "down", 30)
        made = fleet.create("elsewhere", count=2)
        self.assertNotIn("host3", {one["node"] for one in made})
