"""Each usage sample counts exactly once, and the hours agree with what the guests really ran (P4)."""

import time

from fleet import USAGE_INTERVAL_SECONDS, LabTest, wait_until


class Usage(LabTest):
    def test_hours_agree_with_the_guests_real_run_time(self):
        fleet = self.fleet
        made = fleet.create("metered", count=2)
        time.sleep(3 * USAGE_INTERVAL_SECONDS)
        real = {}
        for one in made:
            real[one["id"]] = fleet.run_seconds(one)
            fleet.call("POST", f"/v1/instances/{one['id']}/stop", {"force": True}, expect=202)
        for one in made:
            fleet.wait_for_status(one["id"], "STOPPED")
        time.sleep(2 * USAGE_INTERVAL_SECONDS)
        for one in made:
            counted = fleet.server_seconds(one)
            self.assertAlmostEqual(counted, real[one["id"]], delta=USAGE_INTERVAL_SECONDS + 2)
        time.sleep(2 * USAGE_INTERVAL_SECONDS)
        for one in made:
            self.assertAlmostEqual(fleet.server_seconds(one), real[one["id"]], delta=USAGE_INTERVAL_SECONDS + 2,
                                   msg="a stopped instance costs no hours")
        rows = fleet.roost_json("usage")
        self.assertTrue({one["id"] for one in made} <= {row.get("instance_id") for row in rows}, rows)

    def test_resends_count_once(self):
        fleet = self.fleet
        [one] = fleet.create("resent", node="host1")
        host, faults = fleet.host("host1"), 0
        wait_until("a first sample is counted", lambda: fleet.server_seconds(one) > 0, 60)
        # Each fault may lose an acknowledgement after the manager has committed: the agent then sends again.
        for fault in range(6):
            time.sleep(USAGE_INTERVAL_SECONDS * 0.7)
            if fault % 3 == 0:
                host.kill("agent")
                fleet.site.start_agent(host)
            elif fault % 3 == 1:
                fleet.site.manager.kill("manager")
                fleet.site.start_manager()
            else:
                self.lab("cut", "host1")
                time.sleep(1.5 * USAGE_INTERVAL_SECONDS)
                self.lab("heal", "host1")
            faults += 1
        wait_until("the node is alive", lambda: fleet.node("host1")["alive"] == "alive", 60)
        wait_until("what was spooled is counted",
                   lambda: fleet.server_seconds(one) > fleet.run_seconds(one) - 3 * USAGE_INTERVAL_SECONDS, 60,
                   explain=lambda: (fleet.server_seconds(one), fleet.run_seconds(one)))
        fleet.assert_usage_agrees(self, one, faults=faults)
        # Twice counted would show as more than the time that has passed, whatever the faults.
        self.assertLessEqual(fleet.server_seconds(one), fleet.run_seconds(one) + USAGE_INTERVAL_SECONDS)
