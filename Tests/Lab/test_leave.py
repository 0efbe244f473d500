"""A host's own operator takes the host back and gives it back."""

import time

from fleet import USAGE_INTERVAL_SECONDS, LabTest, wait_until

HOST = "host1"


class Leave(LabTest):
    def agent(self, *arguments, check=True, timeout=150):
        """`roost-agent` as the host's operator calls it."""
        host = self.fleet.host(HOST)
        config = host.folder / "agent.yaml"
        return host.run(self.fleet.site.program("roost-agent"), *arguments, "--config", str(config), check=check, timeout=timeout)

    def restore(self):
        if self.fleet.host(HOST).is_running("holder"):
            self.agent("return", check=False)
        super().restore()

    def test_with_the_manager_cut_off(self):
        fleet = self.fleet
        guests = fleet.create("tenant", count=2, node=HOST)
        self.assertEqual(fleet.domains(HOST), {one["id"] for one in guests})
        time.sleep(2 * USAGE_INTERVAL_SECONDS)
        self.lab("cut", HOST)
        ran = {one["id"]: fleet.run_seconds(one) for one in guests}
        began = time.monotonic()
        left = self.agent("leave", "--deadline", "45s", "--reason", "lecture")
        took = time.monotonic() - began
        self.assertLessEqual(took, 45, left.stdout)
        self.assertEqual(fleet.domains(HOST), set(), "no guest runs")
        for one in guests:
            self.assertIn(one["name"], left.stdout, "progress names each guest")
        # Whether the manager is told at once is said too; that a link is cut may not be known yet.
        self.assertIn("this host is yours", left.stdout)

        # Neither a restart of the agent nor the manager starts anything there.
        self.lab("kill", HOST, "agent")
        fleet.site.start_agent(fleet.host(HOST))
        time.sleep(5)
        self.assertEqual(fleet.domains(HOST), set())

        self.lab("heal", HOST)
        node = wait_until("the record agrees", lambda: self.held(), 90, explain=lambda: fleet.node(HOST))
        self.assertEqual((node["disabled_by"], node["reason"]), ("host", "lecture"))
        self.assertIn("by host: lecture", fleet.roost("node", "status", HOST).stdout)
        for one in guests:
            fleet.wait_for_status(one["id"], "STOPPED", seconds=60)
        self.assertEqual(fleet.domains(HOST), set())
        # P4: the use ends where the guest ended, not where the manager heard of it.
        for one in guests:
            wait_until("usage is counted", lambda: fleet.server_seconds(one) >= ran[one["id"]] - USAGE_INTERVAL_SECONDS, 60)
        time.sleep(2 * USAGE_INTERVAL_SECONDS)
        for one in guests:
            counted = fleet.server_seconds(one)
            self.assertLessEqual(counted, ran[one["id"]] + took + 2 * USAGE_INTERVAL_SECONDS + 2)
            self.assertGreaterEqual(counted, ran[one["id"]] - USAGE_INTERVAL_SECONDS - 2)

        refused = fleet.roost("node", "enable", HOST)
        self.assertIn("roost-agent return", refused.stdout + refused.stderr)
        self.assertFalse(fleet.node(HOST)["enabled"])
        newcomers = fleet.create("newcomer", count=3)
        self.assertNotIn(HOST, {one["node"] for one in newcomers})

        self.assertIn("given back", self.agent("return").stdout)
        wait_until("the node is in service", lambda: fleet.node(HOST)["enabled"], 60)
        for one in guests:
            fleet.wait_for_status(one["id"], "ACTIVE")

    def test_while_no_agent_runs(self):
        fleet = self.fleet
        [one] = fleet.create("alone", node=HOST)
        self.lab("kill", HOST, "agent")
        left = self.agent("leave", "--deadline", "45s")
        self.assertIn("no agent runs", left.stdout)
        self.assertEqual(fleet.domains(HOST), set())
        fleet.site.start_agent(fleet.host(HOST))
        wait_until("the record agrees", lambda: self.held(), 90, explain=lambda: fleet.node(HOST))
        fleet.wait_for_status(one["id"], "STOPPED", seconds=60)
        self.agent("return")
        fleet.wait_for_status(one["id"], "ACTIVE")

    def held(self):
        node = self.fleet.node(HOST)
        return node if not node["enabled"] and node["disabled_by"] == "host" else None
