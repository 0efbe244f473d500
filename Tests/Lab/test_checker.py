"""The judge of the chaos run, judged: a whole site passes, and each broken promise is found. Needs no lab."""

import types
import unittest

from chaoskit import checker

INTERVAL = 5


def request(action, outcome="acknowledged", instance="i1"):
    return types.SimpleNamespace(action=action, outcome=outcome, instance=instance, attempts=1)


class Site:
    """One node with one running instance, as everybody sees it; a test then spoils one thing."""

    def __init__(self):
        self.instances = [{
            "id": "i1", "name": "chaos-0-1", "node_id": "n1", "desired": "running", "status": "ACTIVE", "status_reason": "",
            "vcpus": "1", "ram_mib": "128", "disk_gib": "1", "mac_address": "m1", "ip_address": "a1"}]
        self.nodes = [{"id": "n1", "name": "host1", "claimed_vcpus": "1", "claimed_ram_mib": "128", "claimed_disk_gib": "1"}]
        self.counted = {"i1": 60.0}
        self.operations = []
        self.running = {"i1"}
        self.lives = {("i1", "host1", 1, 1): [0.0, 60.0]}
        self.double = set()
        self.user = types.SimpleNamespace(
            name="user-0", problem=None, wanted={"i1": "running"}, requests=[request("create")])
        self.powered_off = []

    def table(self, name, *columns):
        return {"instances": self.instances, "nodes": self.nodes}[name]

    def query(self, statement, *columns):
        if "usage_hourly" in statement:
            return [{"instance_id": one, "server_ms": str(int(seconds * 1000))} for one, seconds in self.counted.items()]
        return self.operations

    def hosts(self):
        return [types.SimpleNamespace(name="host1")]

    def domains(self, host):
        return self.running

    def judged(self):
        observer = types.SimpleNamespace(
            doubles=self.double, lives=self.lives, longest_gap=0.2,
            run_seconds=lambda one: sum(last - first for life, (first, last) in self.lives.items() if life[0] == one),
            starts=lambda one: sum(1 for life in self.lives if life[0] == one))
        chaos = types.SimpleNamespace(faults_at={"host1": 1}, standstill_at={}, powered_off=self.powered_off)
        verdict = checker.judge(self, [self.user], observer, chaos, INTERVAL)
        checker.agent_restarts_touched_guests(verdict, observer, chaos, [self.user])
        return set(verdict.broken)


class Judge(unittest.TestCase):
    def setUp(self):
        self.site = Site()

    def test_a_whole_site_passes(self):
        self.assertEqual(self.site.judged(), set())

    def test_two_hosts_with_one_guest(self):
        self.site.double = {("i1", (("host1", 1, 1), ("host2", 2, 2)))}
        self.assertEqual(self.site.judged(), {"P1"})

    def test_an_acknowledged_instance_is_not_there(self):
        self.site.user.wanted["i2"] = "running"
        self.assertEqual(self.site.judged(), {"P2"})

    def test_what_was_asked_for_last_did_not_come_about(self):
        self.site.user.wanted["i1"] = "stopped"
        self.assertEqual(self.site.judged(), {"P2"})

    def test_one_request_made_two_instances(self):
        self.site.instances.append({**self.site.instances[0], "id": "i2", "mac_address": "m2", "ip_address": "a2"})
        self.site.counted["i2"], self.site.lives[("i2", "host1", 2, 2)] = 60.0, [0.0, 60.0]
        self.assertIn("P2", self.site.judged())

    def test_an_error_without_a_reason(self):
        self.site.instances[0]["status"] = "ERROR"
        self.assertEqual(self.site.judged(), {"P2"})

    def test_a_deleted_guest_runs(self):
        self.site.instances[0].update(status="DELETED", mac_address="", ip_address="")
        self.site.user.wanted["i1"] = "deleted"
        self.site.nodes[0].update(claimed_vcpus="0", claimed_ram_mib="0", claimed_disk_gib="0")
        self.assertEqual(self.site.judged(), {"P2"})

    def test_an_operation_that_never_ends(self):
        self.site.operations = [{"id": "o1", "kind": "instance.start", "status": "running"}]
        self.assertEqual(self.site.judged(), {"P2"})

    def test_a_claim_that_nobody_has(self):
        self.site.nodes[0]["claimed_ram_mib"] = "256"
        self.assertEqual(self.site.judged(), {"P3"})

    def test_samples_that_count_twice_or_not_at_all(self):
        self.site.counted["i1"] = 75.0
        self.assertEqual(self.site.judged(), {"P4 double"})
        self.site.counted["i1"] = 30.0
        self.assertEqual(self.site.judged(), {"P4 lost"})

    def test_a_guest_that_nobody_asked_to_restart(self):
        self.site.lives = {("i1", "host1", 1, 1): [0.0, 30.0], ("i1", "host1", 2, 2): [30.0, 60.0]}
        self.assertEqual(self.site.judged(), {"P5"})
        self.site.powered_off = [("host1", 29.0)]
        self.assertEqual(self.site.judged(), set(), "a power cut explains it")


if __name__ == "__main__":
    unittest.main()
