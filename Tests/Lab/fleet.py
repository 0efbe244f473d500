"""What the lab's tests share: a site on several hosts, its API and command line, ways to wait, and the promises."""

import base64
import json
import os
import subprocess
import sys
import time
import unittest
import uuid
from pathlib import Path

from labkit.member import Member
from labkit.record import Record
from labkit.site import Site

HEARTBEAT_SECONDS = 1
USAGE_INTERVAL_SECONDS = 5
IMAGE, FLAVOR, KEY = "lab", "tiny", "lab"


class Fleet:
    """The site under test. One for all tests of a run: bringing it up costs more than most tests."""

    current = None

    def __init__(self, state, image_file):
        self.record = Record(state)
        self.site = Site(self.record)
        self.image_file = Path(image_file)
        self.key_file = self.record.folder / "key"
        self._token = ("", 0.0)
        self._retries = 0

    # API

    def token(self):
        text, fetched = self._token
        if time.monotonic() - fetched > 600:
            text = self.site.token()
            self._token = (text, time.monotonic())
        return text

    def call(self, method, path, body=None, expect=None, headers=None, token=None):
        status, answer, _ = self.site.call(method, path, body, token=token or self.token(), headers=headers, timeout=90)
        if expect is not None and status not in (expect if isinstance(expect, tuple) else (expect,)):
            raise AssertionError(f"{method} {path}: {status} instead of {expect}: {answer}")
        return answer

    def insist(self, method, path, body=None, expect=None, seconds=90):
        """A request that is repeated, with one idempotency key, until the manager answers it."""
        headers = {"Idempotency-Key": str(uuid.uuid4())} if method == "POST" else {}
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.call(method, path, body, expect=expect, headers=headers)
            except OSError:
                self._retries += 1
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def pages(self, path):
        """Every item of a list."""
        separator = "&" if "?" in path else "?"
        items, cursor = [], ""
        while True:
            page = self.call("GET", f"{path}{separator}limit=1000{cursor}", expect=200)
            items += page["items"]
            if not page.get("next"):
                return items
            cursor = f"&after={page['next']}"

    def operation(self, identifier, seconds=180):
        """Awaits an operation's end and returns it, whichever end it is."""
        deadline = time.monotonic() + seconds
        while True:
            operation = self.call("GET", f"/v1/operations/{identifier}?wait=10", expect=200)
            if operation["status"] != "running":
                return operation
            if time.monotonic() > deadline:
                raise AssertionError(f"operation still running after {seconds} s: {operation}")

    # Command line

    def roost(self, *arguments, check=True, timeout=300, token=None):
        environment = {**os.environ, **self.site.environment(), "ROOST_TOKEN": token or self.token(), "NO_COLOR": "1"}
        result = subprocess.run([self.site.program("roost"), *arguments], env=environment, capture_output=True, text=True,
                                stdin=subprocess.DEVNULL, timeout=timeout)
        if check and result.returncode != 0:
            raise AssertionError(f"roost {' '.join(arguments)}: exit {result.returncode}: {result.stderr}{result.stdout}")
        return result

    def roost_json(self, *arguments, **options):
        content = json.loads(self.roost(*arguments, "-o", "json", **options).stdout)
        return content["items"] if isinstance(content, dict) and "items" in content else content

    # Hosts

    def host(self, name):
        return Member(self.record, name)

    def hosts(self):
        return self.site.hosts()

    def node(self, name):
        return self.call("GET", f"/v1/nodes/{name}", expect=200)

    def domains(self, host, every=False):
        """UUIDs of a host's domains, asked of libvirt itself."""
        host = self.host(host) if isinstance(host, str) else host
        listed = host.run("virsh", "-c", "qemu:///system", "-q", "list", "--uuid", *(["--all"] if every else []))
        return set(listed.stdout.split())

    def domain_process(self, host, identifier):
        """The identity of a domain's QEMU: while it stays the same, nobody restarted the guest."""
        found = self.host(host).run("pgrep", "-f", f"qemu-system.*{identifier}", check=False).stdout.split()
        return found[0] if found else None

    # Instances

    def create(self, name, count=1, wait=True, user_data=None, **more):
        body = {"name": name, "flavor": FLAVOR, "image": IMAGE, "key_name": KEY, **more}
        if count > 1:
            body["count"] = count
        if user_data:
            body["user_data"] = base64.b64encode(user_data.encode()).decode()
        answer = self.insist("POST", "/v1/instances", body, expect=202)
        made = answer["items"] if "items" in answer else [answer]
        return [self.wait_for_status(one["id"], "ACTIVE") for one in made] if wait else made

    def instance(self, reference):
        return self.call("GET", f"/v1/instances/{reference}", expect=200)

    def instances(self):
        return [one for one in self.pages("/v1/instances") if one["status"] != "DELETED"]

    def wait_for_status(self, identifier, *wanted, seconds=240):
        """Waits for a level; an ERROR that was not asked for ends the wait at once, with its reason."""
        seen = {}

        def reached():
            seen["last"] = one = self.instance(identifier)
            if one["status"] == "ERROR" and "ERROR" not in wanted:
                raise AssertionError(f"{one['name']} is in ERROR: {one.get('status_reason')}")
            return one if one["status"] in wanted else None

        return wait_until(f"{identifier} is {' or '.join(wanted)}", reached, seconds, explain=lambda: seen)

    def wait_until_gone(self, identifier, seconds=120):
        def gone():
            status, body, _ = self.site.call("GET", f"/v1/instances/{identifier}", token=self.token())
            return status == 404 or body.get("status") == "DELETED"

        wait_until(f"{identifier} is deleted", gone, seconds)

    def delete_all(self):
        doomed = self.instances()
        for one in doomed:
            if one["status"] != "DELETING":
                self.call("DELETE", f"/v1/instances/{one['id']}", expect=(202, 404))
        for one in doomed:
            self.wait_until_gone(one["id"])

    def ssh(self, instance, command, check=True, timeout=30):
        """A command in a guest, reached from its own host, as its NAT network demands."""
        return self.host(instance["node"]).run(
            "ssh", "-q", "-i", str(self.key_file), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            f"root@{instance['addresses'][0]}", command, check=check, timeout=timeout)

    def uptime(self, instance):
        """Seconds since the guest's kernel started, told by itself."""
        return float(self.ssh(instance, "cat /proc/uptime").stdout.split()[0])

    def files_of(self, host, identifier):
        """Whatever a host still keeps under an instance's name."""
        return [str(path) for path in self.host(host).folder.rglob(f"*{identifier}*") if path.suffix != ".log"]

    # Usage

    def server_seconds(self, instance):
        """What the site has counted for an instance, over all days of the month."""
        usage = self.call("GET", "/v1/usage?group_by=instance", expect=200)
        return sum(3600 * row["server_hours"] for row in usage["items"] if row.get("instance_id") == instance["id"])

    def run_seconds(self, instance):
        """How long an instance's QEMU has really run, from the kernel's own record of the process."""
        found = self.domain_process(instance["node"], instance["id"])
        return float(self.host(instance["node"]).run("ps", "-o", "etimes=", "-p", found).stdout)

    def assert_usage_agrees(self, test, instance, faults):
        """P4: wrong by at most one interval a fault, and the one that is not reported yet."""
        counted, real = self.server_seconds(instance), self.run_seconds(instance)
        test.assertAlmostEqual(counted, real, delta=USAGE_INTERVAL_SECONDS * (1 + faults) + 2,
                               msg=f"counted {counted:.1f} s, ran {real:.1f} s")

    # Set-up

    def prepare(self):
        """Image, flavor and key that all tests use."""
        if not self.key_file.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key_file)], check=True)
        self.call("POST", "/v1/flavors", {"name": FLAVOR, "vcpus": 1, "ram_mib": 128, "disk_gib": 1}, expect=201)
        self.call("POST", "/v1/keypairs", {"name": KEY, "public_key": Path(f"{self.key_file}.pub").read_text()}, expect=201)
        self.roost("image", "create", IMAGE, "--file", str(self.image_file), "--format", "qcow2")
        wait_until("the image is active", lambda: self.image()["status"] == "active", 120, explain=self.image)

    def image(self):
        image = self.call("GET", f"/v1/images/{IMAGE}", expect=200)
        if image["status"] == "error":
            raise AssertionError(f"image in error: {image['status_reason']}")
        return image


def wait_until(what, condition, seconds, explain=None, pause=0.2):
    """Waits for a level, with a limit; returns what the condition returned."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            more = f": {explain()}" if explain else ""
            raise AssertionError(f"not within {seconds} s: {what}{more}")
        time.sleep(pause)


class LabTest(unittest.TestCase):
    """A test on the shared fleet. Each leaves no instance behind, every node enabled and linked, every program running."""

    maxDiff = None

    @property
    def fleet(self):
        return Fleet.current

    def tearDown(self):
        self.restore()
        self.check_promises()
        self.fleet.delete_all()

    def restore(self):
        site, lab = self.fleet.site, self.fleet.record
        if not site.manager.is_running("manager"):
            site.start_manager()
        for host in self.fleet.hosts():
            lab_command("heal", host.name, state=lab.folder)
            if not host.is_running("holder"):
                lab_command("start", host.name, state=lab.folder)
            if not host.is_running("libvirtd"):
                host.start_libvirtd()
                host.wait_for_libvirtd()
            if not host.is_running("agent"):
                site.start_agent(host)
        site.wait_for_nodes([host.name for host in self.fleet.hosts()], seconds=60)
        self.fleet.call("POST", "/v1/nodes/enable", {"nodes": [host.name for host in self.fleet.hosts()]}, expect=200)

    def check_promises(self):
        """P1 and P3, seen from libvirt: whatever happened, no instance twice, and no host beyond its capacity."""
        owners = {}
        for host in self.fleet.hosts():
            for identifier in self.fleet.domains(host):
                self.assertNotIn(identifier, owners, f"P1: {identifier} runs on {owners.get(identifier)} and {host.name}")
                owners[identifier] = host.name
        known = {one["id"]: one for one in self.fleet.pages("/v1/instances?deleted=true")}
        for identifier, host in owners.items():
            self.assertIn(identifier, known, f"a domain on {host} that no instance explains")
        addresses = [address for one in self.fleet.instances() for address in one["addresses"]]
        self.assertEqual(len(addresses), len(set(addresses)), f"P3: an address twice: {addresses}")
        for node in self.fleet.pages("/v1/nodes"):
            self.assertLessEqual(node["ram_used_mib"], node["ram_mib"] * node["ram_allocation_ratio"], "P3: " + node["name"])
            self.assertLessEqual(node["vcpus_used"], node["vcpus"] * node["cpu_allocation_ratio"], "P3: " + node["name"])

    def lab(self, *arguments):
        lab_command(*arguments, state=self.fleet.record.folder)


def lab_command(*arguments, state):
    """The lab's own command, as a person would type it."""
    command = [sys.executable, str(Path(__file__).parent / "lab"), arguments[0], "--state", str(state), *arguments[1:]]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise AssertionError(f"lab {' '.join(arguments)}: {result.stderr}")
    return result.stdout
