"""Three managers on three Galera nodes behind HAProxy: a leader, a database node, the quorum, everything at once.

Needs `run --managers 3`."""

import shutil
import subprocess
import threading
import time
import uuid
from pathlib import Path

from chaoskit.faults import Supervisor
from chaoskit.lab import ChaosLab
from fleet import LabTest, wait_until
from labkit import disks

LAB = Path(__file__).resolve().parent
TAKEOVER_SECONDS = 10


class SeveralManagers(LabTest):
    @property
    def chaos(self):
        return ChaosLab(self.fleet.record)

    def restore(self):
        for node in self.chaos.databases():
            disks.free(self.chaos.database_disk(node.member))
            if not node.member.is_running("mariadb"):
                node.start()
        for node in self.chaos.databases():
            node.wait_until_synced(size=3)
        for member in self.chaos.controllers():
            disks.free(self.chaos.manager_disk(member))
            if not member.is_running("manager"):
                self.fleet.site.start_manager(member)
        super().restore()

    def leader(self, other_than=None, seconds=TAKEOVER_SECONDS):
        def found():
            leader = self.chaos.leader()
            return leader if leader and (other_than is None or leader.name != other_than.name) else None

        return wait_until("a manager leads", found, seconds, pause=0.1)

    def test_the_leader_is_killed_under_load(self):
        fleet = self.fleet
        [witness] = fleet.create("witness")
        process = fleet.domain_process(witness["node"], witness["id"])
        leader, acknowledged, problems, done = self.leader(), [], [], threading.Event()

        def work():
            number = 0
            while not done.is_set():
                number += 1
                try:
                    fleet.insist("POST", "/v1/flavors", flavor(f"load-{number}"), expect=201)
                    acknowledged.append(f"load-{number}")
                except Exception as problem:  # Told to the test's own thread.
                    problems.append(problem)
                    return

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        time.sleep(2)
        leader.kill("manager")
        began = time.monotonic()
        successor = self.leader(other_than=leader, seconds=TAKEOVER_SECONDS + 5)
        taken = time.monotonic() - began
        print(f"    another leads after {taken:.1f} s")
        self.assertLess(taken, TAKEOVER_SECONDS)
        [made] = fleet.create("after", wait=True)
        done.set()
        worker.join(timeout=120)
        self.assertEqual(problems, [])
        kept = {one["name"] for one in fleet.pages("/v1/flavors")}
        print(f"    {len(acknowledged)} requests acknowledged")
        self.assertEqual([name for name in acknowledged if name not in kept], [], "acknowledged, and lost")
        self.assertEqual(fleet.domain_process(witness["node"], witness["id"]), process, "a guest was touched")
        fleet.site.start_manager(leader)
        self.assertEqual(self.leader().name, successor.name, "who comes back does not take the lead")
        for name in acknowledged:
            fleet.call("DELETE", f"/v1/flavors/{name}", expect=(200, 204))

    def test_a_database_node_is_lost(self):
        fleet = self.fleet
        # The first of the URL: the one that everybody uses.
        node = self.chaos.databases()[0]
        node.member.kill("mariadb")
        [made] = fleet.create("one-less")
        self.assertEqual(made["status"], "ACTIVE")
        node.start()
        node.wait_until_synced(size=3)

    def test_quorum_is_lost_and_comes_back(self):
        fleet = self.fleet
        [witness] = fleet.create("quorum")
        process = fleet.domain_process(witness["node"], witness["id"])
        nodes = self.chaos.databases()
        for node in nodes[1:]:
            node.member.kill("mariadb")
        wait_until("the cluster has no quorum", lambda: nodes[0].status().get("wsrep_ready") == "OFF", 30)

        def refused():
            try:
                status, body, _ = fleet.site.call(
                    "POST", "/v1/flavors", flavor("refused"), token=fleet.token(),
                    headers={"Idempotency-Key": str(uuid.uuid4())})
            except OSError:
                # The proxy has just taken the managers out, and not yet put them back for reading.
                return None
            return (status, body) if status == 503 and isinstance(body, dict) else None

        status, body = wait_until("a write is refused with a reason", refused, 60)
        self.assertTrue(body.get("detail"), body)
        print(f"    refused: {body['detail']}")
        status, body, _ = fleet.site.call("GET", "/v1/instances", token=fleet.token())
        self.assertEqual(status, 200, f"reads go on: {body}")
        self.assertEqual(fleet.domain_process(witness["node"], witness["id"]), process, "a guest was touched")
        for node in nodes[1:]:
            node.start()
        for node in nodes:
            node.wait_until_synced(size=3)
        began = time.monotonic()

        def taken():
            answer = fleet.insist("POST", "/v1/flavors", flavor("taken"), expect=(201, 503))
            return "id" in answer

        wait_until("writes are taken again", taken, 60)
        print(f"    written again {time.monotonic() - began:.1f} s after the cluster was whole")
        # Another manager than the one that took it may not have heard from its database yet.
        wait_until("a change is taken", lambda: (fleet.insist(
            "DELETE", "/v1/flavors/taken", expect=(200, 204, 404, 503)) or {}).get("status") != 503, 60)
        self.assertEqual(fleet.domain_process(witness["node"], witness["id"]), process, "a guest was touched")

    def test_everything_restarts_at_once(self):
        fleet, site = self.fleet, self.fleet.site
        made = fleet.create("reboot", count=2)
        for node in self.chaos.databases():
            node.member.kill("mariadb")
        for member in self.chaos.controllers():
            member.kill("manager")
        for host in fleet.hosts():
            self.lab("kill", host.name, "all")
        # In an order that nobody would choose: hosts, managers, databases.
        for host in fleet.hosts():
            self.lab("start", host.name)
        for member in self.chaos.controllers():
            site.start_manager(member, wait=False)
        for node in reversed(self.chaos.databases()):
            node.start()
        for node in self.chaos.databases():
            node.wait_until_synced(size=3)
        site.wait_for_nodes([host.name for host in fleet.hosts()], seconds=120)
        for one in made:
            fleet.wait_for_status(one["id"], "ACTIVE")
            wait_until("the guest answers", lambda: fleet.ssh(one, "true", check=False).returncode == 0, 120)

    def test_full_disks(self):
        fleet = self.fleet
        [witness] = fleet.create("full")
        leader = self.leader()
        host = fleet.host(witness["node"])
        process = fleet.domain_process(witness["node"], witness["id"])
        for folder in (self.chaos.manager_disk(leader), self.chaos.agent_disk(host)):
            disks.fill(folder)
        time.sleep(15)
        fleet.call("GET", "/v1/instances", expect=200)
        for folder in (self.chaos.manager_disk(leader), self.chaos.agent_disk(host)):
            disks.free(folder)
        self.assertEqual(fleet.domain_process(witness["node"], witness["id"]), process, "a guest was touched")
        [after] = fleet.create("space", node=host.name)
        self.assertEqual(after["status"], "ACTIVE")

    def test_a_database_disk_is_full(self):
        fleet = self.fleet
        # The node that everybody uses. It cannot apply what the others commit, and gives itself up.
        node = self.chaos.databases()[0]
        supervisor = Supervisor(self.chaos)
        supervisor.start()
        try:
            disks.fill(self.chaos.database_disk(node.member))
            began, names, refusals = time.monotonic(), [], []
            while time.monotonic() - began < 20:
                answer = fleet.insist("POST", "/v1/flavors", flavor(f"tight-{len(names)}"), expect=(201, 503))
                if "id" in answer:
                    names.append(answer["name"])
                else:
                    refusals.append(answer["detail"])
                time.sleep(0.1)
            print(f"    meanwhile {len(names)} requests acknowledged, {len(refusals)} refused: {set(refusals)}")
            disks.free(self.chaos.database_disk(node.member))
            for one in self.chaos.databases():
                one.wait_until_synced(size=3, is_supervised=True)
        finally:
            supervisor.stopping.set()
            supervisor.join()
        kept = {one["name"] for one in fleet.pages("/v1/flavors")}
        self.assertEqual([name for name in names if name not in kept], [], "acknowledged, and lost")
        sums = {one.sql("CHECKSUM TABLE roost.flavors, roost.event_log, roost.instances") for one in self.chaos.databases()}
        self.assertEqual(len(sums), 1, f"the databases differ: {sums}")
        for name in names:
            fleet.call("DELETE", f"/v1/flavors/{name}", expect=(200, 204))

    def test_a_cluster_that_does_not_come_back_is_recovered(self):
        fleet, nodes = self.fleet, self.chaos.databases()
        fleet.insist("POST", "/v1/flavors", flavor("before"), expect=201)
        # None may begin alone, and none remembers the others' view: what remains when pc.recovery has nothing to go by.
        for node in nodes[1:]:
            node.member.kill("mariadb")
        fleet.insist("GET", "/v1/flavors", expect=(200, 503))
        nodes[0].member.kill("mariadb")
        for node in nodes:
            (node.folder / "data" / "gvwstate.dat").unlink(missing_ok=True)
            self.node_of(node, "start")
        shown = self.recover("show")
        self.assertEqual(shown.stdout.count("runs, but does not answer"), 3, shown.stdout)
        refused = self.recover("bootstrap")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("--yes", refused.stderr)
        done = self.recover("bootstrap", "--yes")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("last transaction", done.stdout)
        for node in nodes:
            node.wait_until_synced(size=3)
        again = self.recover("bootstrap", "--yes")
        self.assertEqual(again.returncode, 1)
        self.assertIn("has quorum", again.stderr)
        wait_until("the site reads what it wrote", lambda: "before" in {
            one["name"] for one in fleet.insist("GET", "/v1/flavors?limit=1000", expect=(200, 503)).get("items", [])}, 60)

        # One node whose data is broken.
        nodes[1].member.kill("mariadb")
        (nodes[1].folder / "data" / "ibdata1").write_bytes(b"broken")
        done = self.recover("reseed", "--yes", hosts=["manager2", "--others", "manager1", "manager3"])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        [aside] = nodes[1].folder.glob("data.*")
        self.assertEqual((aside / "ibdata1").read_bytes(), b"broken")
        shutil.rmtree(aside)
        fleet.call("DELETE", "/v1/flavors/before", expect=(200, 204))

    def node_of(self, node, action):
        subprocess.run([LAB / "galera-node", self.fleet.record.folder, node.member.name, action], check=True, timeout=120)

    def recover(self, action, *options, hosts=("manager1", "manager2", "manager3")):
        """The shipped script; only how nodes are reached and their service is driven is the lab's."""
        folder = f"{self.fleet.record.folder}/{{host}}/mariadb"
        service = f"{LAB / 'galera-node'} {self.fleet.record.folder} {{host}}"
        ways = {"shell": "sh -c", "datadir": f"{folder}/data", "stop": f"{service} stop", "start": f"{service} start",
                "bootstrap": f"{service} bootstrap", "recover": f"{service} recover", "running": f"{service} running",
                "sql": f"mariadb --no-defaults --socket={folder}/mysqld.sock --batch --skip-column-names -e"}
        return subprocess.run(
            [LAB.parents[1] / "packaging/mariadb/roost-galera-recover", action, *hosts, *options, "--seconds", "120",
             *(f"--{name}={value}" for name, value in ways.items())], capture_output=True, text=True, timeout=600,
            stdin=subprocess.DEVNULL)


def flavor(name):
    return {"name": name, "vcpus": 1, "ram_mib": 64, "disk_gib": 1}
