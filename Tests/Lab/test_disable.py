"""Six hosts are taken out of service by one command while users create and delete: four that can be emptied, one whose libvirtd
hangs, and one out of reach. A seventh is not named. Needs a lab of seven hosts: run --hosts 7 test_disable."""

import signal
import threading
import time
import uuid

from fleet import FLAVOR, IMAGE, KEY, LabTest, wait_until
from labkit.record import resume

DISABLED = [f"host{number}" for number in range(1, 7)]
REACHABLE, HUNG, AWAY, APART = DISABLED[:4], "host5", "host6", "host7"
GUESTS_A_HOST = 2
VM_TIMEOUT_SECONDS = 10


class Users(threading.Thread):
    """Create, change their minds, create again, until they are told to stop. They hold a few instances at a time, which costs the
    lab's few processors little."""

    def __init__(self, fleet):
        super().__init__(daemon=True)
        self.fleet = fleet
        self.stopping = threading.Event()
        self.created, self.failures = 0, []

    def run(self):
        held = []
        while not self.stopping.wait(0.7):
            try:
                if len(held) >= 2:
                    self.fleet.call("DELETE", f"/v1/instances/{held.pop(0)}", expect=202)
                body = {"name": f"passing-{uuid.uuid4()}", "flavor": FLAVOR, "image": IMAGE, "key_name": KEY}
                held.append(self.fleet.call("POST", "/v1/instances", body, expect=202)["id"])
                self.created += 1
            except (AssertionError, OSError) as problem:
                self.failures.append(str(problem))
        for one in held:
            self.fleet.insist("DELETE", f"/v1/instances/{one}", expect=(202, 404))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.join()


class DisableMany(LabTest):
    def restore(self):
        resume(self.fleet.host(HUNG).process("libvirtd"))
        super().restore()
        self.fleet.call("PATCH", f"/v1/nodes/{APART}", {"cpu_allocation_ratio": None}, expect=200)

    def emulators(self, hosts):
        """The identity of each guest's QEMU; libvirt is not asked, since it may hang."""
        return {one["id"]: self.fleet.domain_process(one["node"], one["id"]) for one in self.guests if one["node"] in hosts}

    def test_the_reachable_are_emptied_and_the_others_told(self):
        fleet = self.fleet
        # Where all go who are not let onto the others.
        fleet.call("PATCH", f"/v1/nodes/{APART}", {"cpu_allocation_ratio": 16}, expect=200)
        made = [one for host in [*DISABLED, APART] for one in fleet.create(f"tenant-{host}", count=GUESTS_A_HOST, wait=False, node=host)]
        self.guests = [fleet.wait_for_status(one["id"], "ACTIVE") for one in made]
        before = self.emulators([*DISABLED, APART])
        self.assertNotIn(None, before.values(), "every guest runs")

        with Users(fleet) as users:
            wait_until("users are at work", lambda: users.created >= 3, 30)
            fleet.host(HUNG).kill("libvirtd", signal.SIGSTOP)
            self.lab("cut", AWAY)
            mark = fleet.pages("/v1/events")[-1]["sequence"]
            began = time.monotonic()
            done = fleet.roost("node", "disable", "--for-real", "host[1-6]", "--parallel", "6", "--vm-timeout",
                               str(VM_TIMEOUT_SECONDS), "--force-shutoff", "--reason", "lecture", "--line-output", check=False)
            # P6, at once and asked of libvirt itself: done means none.
            left = {host: fleet.domains(host, every=True) for host in REACHABLE}
            took = time.monotonic() - began
            wait_until("users go on", lambda: users.created >= 10, 30)
        events = fleet.pages(f"/v1/events?after={mark}")
        print(f"    disabled after {took:.1f} s, {users.created} instances were created meanwhile")

        self.assertEqual(left, {host: set() for host in REACHABLE})
        self.assertEqual(users.failures, [], "what users ask for goes on, elsewhere")
        self.check_words(done)
        self.check_order(events)
        self.assertEqual(self.emulators([APART, HUNG, AWAY]), {
            identifier: process for identifier, process in before.items() if fleet.instance(identifier)["node"] not in REACHABLE},
            "no other guest was touched")
        for host in REACHABLE:
            self.assertEqual(fleet.node(host)["drain"]["state"], "drained", host)
        self.check_healing()
        self.check_enabling()

    def check_words(self, done):
        """The others finish; both that could not are told by name, and one that is down as such.

        Of the hung one its agent says so where a call that was under way ended; opening a connection waits as long as libvirtd hangs.
        """
        self.assertEqual(done.returncode, 1, done.stderr + done.stdout)
        failed = [line for line in done.stdout.splitlines() if line.startswith("[FAIL]")]
        for host, reason in ((HUNG, "2 guests still run after"), (AWAY, "the node is down")):
            self.assertTrue([line for line in failed if f"{host}: " in line and reason in line], done.stdout)
        self.assertFalse([line for line in failed for host in REACHABLE if host in line], done.stdout)
        self.assertIn(f"2 nodes failed: {HUNG}, {AWAY}", done.stderr)
        for host in REACHABLE:
            self.assertIn(f"[ OK ] Disabling node {host}", done.stdout)
        for one in self.guests:
            if one["node"] in REACHABLE:
                self.assertRegex(done.stdout, rf"\[ OK \] (Stopping|Forcing off) instance {one['name']} on {one['node']}")

    def check_order(self, events):
        """All are taken out of service before anything is done to any guest; a host is done when its last guest is gone."""
        def moments(kind, match):
            return [event["sequence"] for event in events if event["kind"] == kind and match(event)]

        disabled = {host: moments("node.disabled", lambda event, host=host: event["resource"]["name"] == host) for host in DISABLED}
        self.assertEqual({host: len(found) for host, found in disabled.items()}, {host: 1 for host in DISABLED})
        closed = max(found[0] for found in disabled.values())
        asked = {one["id"]: moments("instance.stop_requested", lambda event, one=one: event["resource"]["id"] == one["id"])
                 for one in self.guests}
        stopped = {one["id"]: moments("instance.stopped", lambda event, one=one: event["resource"]["id"] == one["id"])
                   for one in self.guests}
        for one in self.guests:
            name = f"{one['name']} on {one['node']}"
            if one["node"] == APART:
                self.assertEqual((asked[one["id"]], stopped[one["id"]]), ([], []), name)
                continue
            self.assertGreater(min(asked[one["id"]]), closed, name)
            if one["node"] in REACHABLE:
                self.assertGreater(stopped[one["id"]][0], min(asked[one["id"]]), name)
        for host in DISABLED:
            drained = moments("node.drained", lambda event, host=host: event["resource"]["name"] == host)
            failed = moments("node.drain_failed", lambda event, host=host: event["resource"]["name"] == host)
            self.assertEqual((len(drained), len(failed)), (1, 0) if host in REACHABLE else (0, 1), host)
            if host in REACHABLE:
                self.assertGreater(drained[0], max(stopped[one["id"]][0] for one in self.guests if one["node"] == host))
        placed = [event for event in events if event["kind"] == "instance.created" and event["sequence"] > closed]
        self.assertEqual({event["data"]["node"] for event in placed}, {APART}, "nothing was placed on a disabled host")

    def check_healing(self):
        """What could not be done is done once it can be: the record wants it so still."""
        fleet = self.fleet
        resume(fleet.host(HUNG).process("libvirtd"))
        self.lab("heal", AWAY)
        for host in (HUNG, AWAY):
            wait_until(f"{host} is empty", lambda host=host: not fleet.domains(host, every=True), 90)
        for one in self.guests:
            if one["node"] != APART:
                fleet.wait_for_status(one["id"], "STOPPED", seconds=60)
        for host in DISABLED:
            self.assertFalse(fleet.node(host)["enabled"], host)

    def check_enabling(self):
        """What the drain stopped starts again where it was."""
        fleet = self.fleet
        fleet.roost("node", "enable", "host[1-6]")
        for one in self.guests:
            now = fleet.wait_for_status(one["id"], "ACTIVE")
            self.assertEqual(now["node"], one["node"])
