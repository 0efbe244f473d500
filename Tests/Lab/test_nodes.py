"""Taking a node out of service and back."""

from fleet import FLAVOR, IMAGE, KEY, LabTest


class Disable(LabTest):
    def test_dry_run_changes_nothing_and_for_real_empties_the_host(self):
        fleet = self.fleet
        guests = fleet.create("tenant", count=2, node="host1")
        running = fleet.domains("host1")
        self.assertEqual(running, {one["id"] for one in guests})

        output = fleet.roost("node", "disable", "host1").stdout
        for one in guests:
            self.assertIn(one["name"], output, "the dry run names what it would stop")
        self.assertTrue(fleet.node("host1")["enabled"])
        self.assertEqual(fleet.domains("host1"), running)

        fleet.roost("node", "disable", "host1", "--for-real", "--vm-timeout", "60", "--force-shutoff")
        # P6, at once and asked of libvirt: done means none.
        self.assertEqual(fleet.domains("host1", every=True), set())
        node = fleet.node("host1")
        self.assertFalse(node["enabled"])
        for one in guests:
            self.assertEqual(fleet.instance(one["id"])["status"], "STOPPED")

        made = fleet.create("newcomer", count=3)
        self.assertNotIn("host1", {one["node"] for one in made}, "no instance is placed on a disabled node")
        self.assertEqual(fleet.domains("host1", every=True), set())
        refused = fleet.call("POST", "/v1/instances", {
            "name": "pinned", "flavor": FLAVOR, "image": IMAGE, "key_name": KEY, "node": "host1"}, expect=409)
        self.assertEqual(refused["code"], "no_capacity", refused)
        started = fleet.call("POST", f"/v1/instances/{guests[0]['id']}/start", {})
        self.assertEqual(fleet.domains("host1", every=True), set(), started)

        fleet.roost("node", "enable", "host1")
        self.assertTrue(fleet.node("host1")["enabled"])
        [back] = fleet.create("back", node="host1")
        self.assertEqual(back["node"], "host1")

    def test_status_shows_each_node_its_guests_and_their_addresses(self):
        fleet = self.fleet
        [one] = fleet.create("seen", node="host2")
        table = fleet.roost("node", "status").stdout
        line = next(line for line in table.splitlines() if "host2" in line)
        self.assertIn(one["addresses"][0], line)
        self.assertEqual({node["name"] for node in fleet.roost_json("node", "list")}, {"host1", "host2", "host3"})

    def test_one_nodes_error_does_not_stop_the_others(self):
        fleet = self.fleet
        result = fleet.roost("node", "disable", "host2,nosuchnode", "--for-real", check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("nosuchnode", result.stdout + result.stderr)
