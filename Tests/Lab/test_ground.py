"""The lab itself: if this fails, no other result of the run means anything."""

import subprocess
from pathlib import Path

from fleet import LabTest, lab_command, wait_until
from labkit import network

RECEIVER = """
import socket
server = socket.create_server(("0.0.0.0", 9999)); print("ready", flush=True)
connection, _ = server.accept()
while connection.recv(1 << 20): pass
"""
SENDER = """
import socket, sys, time
connection = socket.create_connection((sys.argv[1], 9999)); began = time.monotonic()
connection.sendall(bytes(16 << 20)); connection.shutdown(socket.SHUT_WR); connection.recv(1)
print(time.monotonic() - began)
"""


class Ground(LabTest):
    def tearDown(self):
        for host in self.fleet.hosts():
            self.lab("heal", host.name)

    def test_each_host_has_a_libvirt_of_its_own(self):
        identities = {host.run("virsh", "-c", "qemu:///system", "-q", "capabilities").stdout.split("<uuid>")[1][:36]
                      for host in self.fleet.hosts()}
        self.assertEqual(len(identities), len(self.fleet.hosts()))
        boots = {host.run("cat", "/proc/sys/kernel/random/boot_id").stdout for host in self.fleet.hosts()}
        self.assertEqual(len(boots), len(self.fleet.hosts()))
        self.assertEqual([host.run("hostname").stdout.strip() for host in self.fleet.hosts()],
                         [host.name for host in self.fleet.hosts()])

    def test_a_cut_link_carries_nothing_and_a_healed_one_does(self):
        one, other = self.fleet.hosts()[:2]
        ping = ("ping", "-c", "1", "-W", "1", other.content["address"])
        self.assertEqual(one.run(*ping, check=False).returncode, 0)
        self.lab("cut", other.name)
        self.assertNotEqual(one.run(*ping, check=False).returncode, 0)
        self.lab("heal", other.name)
        wait_until("the link carries again", lambda: one.run(*ping, check=False).returncode == 0, 10)

    def test_links_carry_what_they_are_limited_to_and_count_it(self):
        one, other = self.fleet.hosts()[:2]
        before = network.links()
        receiver = subprocess.Popen(other.enter(["python3", "-c", RECEIVER]), stdout=subprocess.PIPE, text=True)
        self.assertEqual(receiver.stdout.readline(), "ready\n")
        seconds = float(one.run("python3", "-c", SENDER, other.content["address"]).stdout)
        receiver.wait(timeout=10)
        receiver.stdout.close()
        after = network.links()
        sent = after[one.name]["sent_bytes"] - before[one.name]["sent_bytes"]
        self.assertGreater(sent, 16 << 20)
        self.assertLess(sent, 18 << 20)
        self.assertGreater(8 * (16 << 20) / seconds, 100e6, f"200 Mbit/s, took {seconds:.2f} s")
        self.assertLess(8 * (16 << 20) / seconds, 215e6, f"200 Mbit/s, took {seconds:.2f} s")

    def test_a_process_is_known_by_more_than_its_number(self):
        from labkit.record import end, identify, is_running

        child = subprocess.Popen(["sleep", "60"], start_new_session=True)
        known = identify(child.pid)
        self.assertTrue(is_running(known))
        self.assertFalse(is_running({**known, "start": known["start"] - 1}), "another process of the same number")
        self.assertFalse(end({**known, "start": known["start"] - 1}))
        child.kill()
        child.wait()
        self.assertFalse(is_running(known))

    def test_a_second_lab_is_refused(self):
        with self.assertRaisesRegex(AssertionError, "another lab is up"):
            lab_command("up", "1", "--no-roost", state=Path(str(self.fleet.record.folder) + "-second"))
        self.assertTrue(all(host.is_running("holder") for host in self.fleet.hosts()))
