"""Images of instances' disks: of a guest that runs, of one that is stopped, and with an agent that is killed meanwhile."""

import os
import random
import time

from fleet import LabTest, wait_until

SEED = int(os.environ.get("LAB_SEED", "7401"))


class Captures(LabTest):
    def capture(self, name, instance, **more):
        image = self.fleet.call("POST", "/v1/images", {"name": name, "from_instance": instance["id"], **more}, expect=202)
        self.addCleanup(self.fleet.call, "DELETE", f"/v1/images/{image['id']}")
        return image

    def finished(self, image, seconds=180):
        operation = self.fleet.operation(image["operation_id"], seconds=seconds)
        self.assertEqual(operation["status"], "succeeded", operation)
        image = self.fleet.call("GET", f"/v1/images/{image['id']}", expect=200)
        self.assertEqual((image["status"], image["progress"], image["format"]), ("active", 100, "raw"))
        return image

    def nothing_left(self, image, node):
        """Neither a file nor a domain of the copy, once the node has heard that it is over."""
        host = self.fleet.host(node)

        def left():
            files = [path for path in self.fleet.files_of(node, image["id"]) if "_captures" in path]
            names = host.run("virsh", "-c", "qemu:///system", "-q", "list", "--all", "--name").stdout.split()
            return files + [name for name in names if name.startswith("roost-copy-")]

        wait_until("the node has removed its copy", lambda: not left(), 30, explain=left)

    def boots_with(self, image, mark, elsewhere_than):
        other = next(host.name for host in self.fleet.hosts() if host.name != elsewhere_than)
        [copy] = self.fleet.create(f"of-{image['name']}", image=image["id"], node=other)
        self.assertEqual(self.fleet.ssh(copy, "cat /root/mark").stdout.strip(), mark)
        self.assertEqual(self.fleet.ssh(copy, "hostname").stdout.strip(), copy["name"])

    def test_of_a_guest_that_runs_and_of_one_that_is_stopped(self):
        fleet = self.fleet
        [one] = fleet.create("source", node="host1")
        process = fleet.domain_process("host1", one["id"])
        fleet.ssh(one, "echo first >/root/mark && sync")
        running = self.finished(self.capture("of-running", one))
        self.assertEqual(fleet.domain_process("host1", one["id"]), process, "the guest runs on")
        fleet.ssh(one, "echo second >/root/mark && sync")

        fleet.call("POST", f"/v1/instances/{one['id']}/stop", {}, expect=202)
        fleet.wait_for_status(one["id"], "STOPPED")
        stopped = self.capture("of-stopped", one)
        # Asked for at once, it starts as soon as the disk is copied; what it does then is not in the image.
        fleet.call("POST", f"/v1/instances/{one['id']}/start", {}, expect=202)
        fleet.wait_for_status(one["id"], "ACTIVE")
        fleet.ssh(one, "echo third >/root/mark && sync")
        stopped = self.finished(stopped)
        for image in (running, stopped):
            self.nothing_left(image, "host1")
        self.boots_with(running, "first", elsewhere_than="host1")
        self.boots_with(stopped, "second", elsewhere_than="host1")

    def test_an_agent_that_is_killed_meanwhile_carries_it_to_its_end(self):
        fleet, dice, host = self.fleet, random.Random(SEED), self.fleet.host("host2")
        [one] = fleet.create("killed", node="host2")
        fleet.ssh(one, "echo kept >/root/mark && sync")
        for state in ("running", "stopped"):
            if state == "stopped":
                fleet.call("POST", f"/v1/instances/{one['id']}/stop", {}, expect=202)
                fleet.wait_for_status(one["id"], "STOPPED")
            image = self.capture(f"killed-{state}", one)
            for _ in range(3):
                time.sleep(dice.uniform(0, 1.5))
                host.kill("agent")
                fleet.site.start_agent(host)
            image = self.finished(image)
            self.nothing_left(image, "host2")
            self.boots_with(image, "kept", elsewhere_than="host2")
        fleet.call("POST", f"/v1/instances/{one['id']}/start", {}, expect=202)
        fleet.wait_for_status(one["id"], "ACTIVE")

    def test_a_manager_that_is_killed_while_it_pulls_goes_on(self):
        fleet = self.fleet
        [one] = fleet.create("pulled", node="host3")
        fleet.ssh(one, "echo kept >/root/mark && sync")
        # Slow enough to be caught in the middle.
        fleet.call("PATCH", "/v1/nodes/host3", {"transfer": {"send_bytes_per_second": 4 << 20}}, expect=200)
        self.addCleanup(fleet.call, "PATCH", "/v1/nodes/host3", {"transfer": {"send_bytes_per_second": None}})
        image = self.capture("pulled", one)

        def pulled():
            return fleet.call("GET", f"/v1/images/{image['id']}", expect=200)["progress"] > 45

        wait_until("the manager pulls the copy", pulled, 60)
        fleet.site.manager.kill("manager")
        fleet.site.start_manager()
        wait_until("the manager pulls again", pulled, 60)
        fleet.call("PATCH", "/v1/nodes/host3", {"transfer": {"send_bytes_per_second": None}}, expect=200)
        image = self.finished(image)
        self.nothing_left(image, "host3")
        self.boots_with(image, "kept", elsewhere_than="host3")

    def test_deleting_image_or_instance_meanwhile_leaves_nothing(self):
        fleet = self.fleet
        [one] = fleet.create("doomed", node="host1")
        fleet.call("POST", f"/v1/instances/{one['id']}/stop", {"force": True}, expect=202)
        fleet.wait_for_status(one["id"], "STOPPED")
        image = self.capture("doomed", one)
        fleet.call("DELETE", f"/v1/images/{image['id']}", expect=204)
        self.nothing_left(image, "host1")
        fleet.call("POST", f"/v1/instances/{one['id']}/start", {}, expect=202)
        fleet.wait_for_status(one["id"], "ACTIVE")

        image = self.capture("doomed-too", one)
        fleet.call("DELETE", f"/v1/instances/{one['id']}", expect=202)
        fleet.wait_until_gone(one["id"])
        operation = fleet.operation(image["operation_id"])
        if operation["status"] != "succeeded":  # The disk may have been copied already.
            self.assertEqual(operation["error"]["code"], "instance_deleted", operation)
        self.nothing_left(image, "host1")
