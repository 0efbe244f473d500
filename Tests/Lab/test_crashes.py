"""SIGKILL at bad moments: of the manager during creates and deletes, of an agent under running guests, of a host."""

import os
import random
import threading
import time

from fleet import HEARTBEAT_SECONDS, LabTest, wait_until

SEED = int(os.environ.get("LAB_SEED", "7401"))


class ManagerCrashes(LabTest):
    def test_killed_at_random_during_ten_creates_and_deletes(self):
        fleet, dice = self.fleet, random.Random(SEED)
        [witness] = fleet.create("witness")
        process, uptime = fleet.domain_process(witness["node"], witness["id"]), fleet.uptime(witness)
        watched = time.monotonic()

        problems, acknowledged, doomed, done = [], [], [], threading.Event()

        def work():
            try:
                for number in range(10):
                    [one] = fleet.create(f"storm-{number}", wait=False)
                    acknowledged.append(one["id"])
                    if number % 2:
                        victim = acknowledged[-2]
                        fleet.insist("DELETE", f"/v1/instances/{victim}", expect=(202, 404))
                        doomed.append(victim)
                    time.sleep(dice.uniform(0.1, 0.8))
            except Exception as problem:  # Told to the test's own thread.
                problems.append(problem)
            finally:
                done.set()

        worker = threading.Thread(target=work)
        worker.start()
        kills = 0
        while kills < 5 and not (done.is_set() and kills >= 3):
            time.sleep(dice.uniform(0.3, 2.0))
            fleet.site.manager.kill("manager")
            kills += 1
            time.sleep(dice.uniform(0, 0.5))
            fleet.site.start_manager()
        worker.join(timeout=180)
        self.assertEqual(problems, [], f"seed {SEED}")
        self.assertFalse(worker.is_alive(), f"requests hang; seed {SEED}")

        # P2: every operation ends, and what was acknowledged is there or ended with a reason.
        wait_until("every operation has ended", lambda: not [
            one for one in fleet.pages("/v1/operations") if one["status"] == "running"], 240,
            explain=lambda: [one for one in fleet.pages("/v1/operations") if one["status"] == "running"])
        for identifier in acknowledged:
            if identifier in doomed:
                fleet.wait_until_gone(identifier)
                continue
            one = fleet.instance(identifier)
            self.assertIn(one["status"], ("ACTIVE", "ERROR"), f"seed {SEED}")
            if one["status"] == "ERROR":
                self.assertTrue(one["status_reason"], "an ERROR without a reason")
            else:
                self.assertIn(identifier, fleet.domains(one["node"]))
        for host in fleet.hosts():
            self.assertFalse(set(doomed) & fleet.domains(host, every=True), f"deleted, yet there; seed {SEED}")
        # Idempotency keys: a repeated request made no second instance.
        names = [one["name"] for one in fleet.instances()]
        self.assertEqual(len(names), len(set(names)), f"seed {SEED}: {sorted(names)}")

        # P5: no guest was disturbed.
        self.assertEqual(fleet.domain_process(witness["node"], witness["id"]), process)
        self.assertGreater(fleet.uptime(witness), uptime + 0.8 * (time.monotonic() - watched))

    def test_graceful_stop_is_quick_and_loses_nothing(self):
        fleet = self.fleet
        made = fleet.create("graceful", count=2, wait=False)
        began = time.monotonic()
        fleet.site.manager.kill("manager", number=15)
        wait_until("the manager stopped", lambda: not fleet.site.manager.is_running("manager"), 5, pause=0.02)
        self.assertLess(time.monotonic() - began, 5)
        fleet.site.start_manager()
        for one in made:
            fleet.wait_for_status(one["id"], "ACTIVE")


class AgentCrashes(LabTest):
    def test_guests_run_on_and_state_converges_within_one_interval(self):
        fleet = self.fleet
        [steady] = fleet.create("steady", node="host1")
        [leaving] = fleet.create("leaving", node="host1")
        host = fleet.host("host1")
        process, uptime, watched = fleet.domain_process("host1", steady["id"]), fleet.uptime(steady), time.monotonic()

        host.kill("agent")
        fleet.call("POST", f"/v1/instances/{leaving['id']}/stop", {"force": True}, expect=202)
        # A guest that ends by itself while nobody looks is noticed afterwards.
        host.run("virsh", "-c", "qemu:///system", "-q", "list")
        fleet.site.start_agent(host)
        began = time.monotonic()
        wait_until("the node is alive again", lambda: fleet.node("host1")["alive"] == "alive", 30, pause=0.05)
        wait_until("the stop was carried out", lambda: leaving["id"] not in fleet.domains("host1"),
                   HEARTBEAT_SECONDS + 10, pause=0.05)
        fleet.wait_for_status(leaving["id"], "STOPPED", seconds=HEARTBEAT_SECONDS + 10)
        print(f"    converged {time.monotonic() - began:.1f} s after the agent's restart")

        self.assertEqual(fleet.domain_process("host1", steady["id"]), process)
        self.assertGreater(fleet.uptime(steady), uptime + 0.8 * (time.monotonic() - watched))
        self.assertEqual(fleet.instance(steady["id"])["status"], "ACTIVE")

    def test_a_guest_that_died_with_nobody_watching_comes_back(self):
        fleet, host = self.fleet, self.fleet.host("host2")
        [one] = fleet.create("victim", node="host2")
        fleet.ssh(one, "echo kept >/root/mark && sync")
        host.kill("agent")
        host.run("virsh", "-c", "qemu:///system", "-q", "destroy", one["id"])
        fleet.site.start_agent(host)
        wait_until("the guest is back", lambda: one["id"] in fleet.domains("host2"), 60)
        wait_until("and answers", lambda: fleet.ssh(one, "cat /root/mark", check=False).stdout == "kept\n", 60)

    def test_libvirtd_restarts_under_running_guests(self):
        fleet, host = self.fleet, self.fleet.host("host3")
        [one] = fleet.create("libvirt", node="host3")
        process = fleet.domain_process("host3", one["id"])
        host.kill("libvirtd")
        host.start_libvirtd()
        host.wait_for_libvirtd()
        [another] = fleet.create("another", node="host3")
        self.assertEqual(another["node"], "host3")
        self.assertEqual(fleet.domain_process("host3", one["id"]), process)


class HostCrashes(LabTest):
    def test_after_a_power_cut_the_right_guests_come_back_without_a_manager(self):
        fleet, host = self.fleet, self.fleet.host("host2")
        [running] = fleet.create("running", node="host2")
        [stopped] = fleet.create("stopped", node="host2")
        fleet.call("POST", f"/v1/instances/{stopped['id']}/stop", {"force": True}, expect=202)
        fleet.wait_for_status(stopped["id"], "STOPPED")
        fleet.site.manager.kill("manager")
        self.lab("kill", "host2", "all")
        self.lab("start", "host2")
        wait_until("the guest that should run does", lambda: fleet.domains("host2") == {running["id"]}, 60)
        fleet.site.start_manager()
        fleet.wait_for_status(running["id"], "ACTIVE")
        wait_until("the guest answers", lambda: fleet.ssh(running, "true", check=False).returncode == 0, 60)
        self.assertEqual(fleet.domains("host2"), {running["id"]})
        self.assertTrue(host.is_running("agent"))
