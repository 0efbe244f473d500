"""What comes from outside and must be refused: malicious images, bad requests. Nothing crashes, nothing is left (P10)."""

import json
import struct
import subprocess
import tempfile
import urllib.parse
from pathlib import Path

from fleet import FLAVOR, IMAGE, LabTest


def qemu_img(*arguments):
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True)


def patched(path, offset, content):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)


class MaliciousImages(LabTest):
    def refuse(self, name, content, format_name="qcow2"):
        """Uploads, and expects a refusal with a sentence, an image in error, and no byte kept."""
        fleet = self.fleet
        before = self.kept()
        made = fleet.call("POST", "/v1/images", {"name": name, "format": format_name}, expect=201)
        status, answer, _ = fleet.site.call("PUT", f"/v1/images/{made['id']}/file", content, token=fleet.token(),
                                            content_type="application/octet-stream", timeout=90)
        self.assertEqual(status, 422, answer)
        self.assertTrue(answer["code"].startswith("image_"), answer)
        self.assertGreater(len(answer["detail"]), 20, f"says what is wrong: {answer}")
        image = fleet.call("GET", f"/v1/images/{made['id']}", expect=200)
        self.assertEqual(image["status"], "error", image)
        self.assertTrue(image["status_reason"], image)
        self.assertEqual(self.kept() - before, set(), "nothing is left on disk")
        fleet.call("DELETE", f"/v1/images/{made['id']}", expect=(202, 204, 200))
        self.assertTrue(fleet.site.manager.is_running("manager"))
        return answer

    def kept(self):
        data = self.fleet.site.data
        return {str(path) for path in data.rglob("*") if path.is_file() and ".sqlite" not in path.name
                and not path.name.endswith(("-wal", "-shm", "-journal"))}

    def test_images_that_could_read_other_files_or_lie_about_their_size(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            backing = folder / "backing.qcow2"
            qemu_img("create", "-f", "qcow2", "-u", "-b", "/etc/shadow", "-F", "raw", str(backing), "1M")
            external = folder / "external.qcow2"
            qemu_img("create", "-f", "qcow2", "-o", f"data_file={folder}/data,data_file_raw=on", str(external), "1M")
            plain = folder / "plain.qcow2"
            qemu_img("create", "-f", "qcow2", str(plain), "64M")
            absurd, clusters, truncated = folder / "absurd.qcow2", folder / "clusters.qcow2", folder / "truncated.qcow2"
            for copy in (absurd, clusters):
                copy.write_bytes(plain.read_bytes())
            patched(absurd, 24, struct.pack(">Q", 1 << 62))  # virtual size
            patched(clusters, 36, struct.pack(">IQ", 0xFFFFFFF0, 1 << 60))  # L1 entries, and where they lie
            truncated.write_bytes(plain.read_bytes()[:60])
            descriptor = ('# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
                          '# Extent description\nRW 8 FLAT "/etc/shadow" 0\n'
                          'ddb.adapterType = "ide"\nddb.geometry.sectors = "63"\n')
            for path in (backing, external, absurd, clusters, truncated):
                with self.subTest(path.stem):
                    self.refuse(path.stem, path.read_bytes())
            with self.subTest("vmdk"):
                answer = self.refuse("vmdk", descriptor.encode(), "vmdk")
                self.assertNotIn("root:", json.dumps(answer))
            with self.subTest("a format that is not what the file is"):
                self.refuse("mismatch", descriptor.encode(), "qcow2")


class BadRequests(LabTest):
    def test_each_gets_its_code_and_a_sentence(self):
        nowhere = "00000000-0000-4000-8000-000000000000"
        cases = [
            ("GET", f"/v1/instances/{nowhere}", None, 404),
            ("GET", "/v1/instances?limit=0", None, 400),
            ("GET", "/v1/instances?limit=many", None, 400),
            ("GET", "/v1/instances?colour=red", None, 400),
            ("POST", "/v1/instances", {"name": "x"}, 400),
            ("POST", "/v1/instances", {"name": "x", "flavor": FLAVOR, "image": IMAGE, "count": "three"}, 400),
            ("POST", "/v1/instances", {"name": "x", "flavor": FLAVOR, "image": IMAGE, "count": 100000}, 400),
            ("POST", "/v1/instances", {"name": "x", "flavor": FLAVOR, "image": IMAGE, "colour": "red"}, 400),
            ("POST", "/v1/instances", b"{not json", 400),
            ("POST", "/v1/flavors", {"name": "f", "vcpus": -1, "ram_mib": 128, "disk_gib": 1}, 400),
            ("POST", "/v1/keypairs", {"name": "k", "public_key": "ssh-rsa not-base64"}, 400),
            ("POST", "/v1/users", {"name": "y"}, 400),
            ("DELETE", "/v1/instances", None, 405),
            ("POST", "/v1/volumes", {"name": "v"}, 501),
            ("GET", "/v1/nosuch", None, 404),
            ("POST", "/v1/keypairs", {"name": "k", "public_key": "x" * (2 << 20)}, 413),
        ]
        for method, path, body, expected in cases:
            with self.subTest(f"{method} {path}"):
                status, answer, headers = self.fleet.site.call(method, path, body, token=self.fleet.token())
                self.assertEqual(status, expected, answer)
                self.assertIn("application/problem+json", headers["Content-Type"])
                self.assertEqual(answer["status"], expected)
                self.assertGreater(len(answer["detail"]), 10, answer)

    def test_tokens_and_content_types(self):
        call = self.fleet.site.call
        for token in (None, "nonsense", "a.b.c"):
            status, _, headers = call("GET", "/v1/instances", token=token)
            self.assertEqual(status, 401)
            self.assertIn("Bearer", headers["WWW-Authenticate"])
        status, _, _ = call("POST", "/v1/instances", b"name=x", token=self.fleet.token(), content_type="text/plain")
        self.assertEqual(status, 415)
        form = urllib.parse.urlencode({"grant_type": "password", "username": "admin", "password": "wrong"}).encode()
        status, answer, _ = call("POST", "/oauth/token", form, token=None, content_type="application/x-www-form-urlencoded")
        self.assertEqual((status, answer["error"]), (400, "invalid_grant"))

    def test_a_user_sees_only_their_own(self):
        fleet = self.fleet
        [theirs] = fleet.create("private", wait=False)
        fleet.call("POST", "/v1/users", {"name": "mallory", "password": "correct horse battery"}, expect=201)
        try:
            token = fleet.site.token("mallory", "correct horse battery")
            for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/stop")):
                status, answer, _ = fleet.site.call(method, f"/v1/instances/{theirs['id']}{path}",
                                                    {} if method == "POST" else None, token=token)
                self.assertEqual(status, 404, answer)
            self.assertEqual(fleet.call("GET", "/v1/instances", token=token)["items"], [])
            status, _, _ = fleet.site.call("GET", "/v1/nodes", token=token)
            self.assertEqual(status, 403)
        finally:
            fleet.call("DELETE", "/v1/users/mallory")
        fleet.wait_for_status(theirs["id"], "ACTIVE")

    def test_the_command_line_says_how_it_went(self):
        fleet = self.fleet
        self.assertEqual(fleet.roost("instance", "show", "nosuch", check=False).returncode, 1)
        self.assertEqual(fleet.roost("instance", "nosuchverb", check=False).returncode, 2)
        for words in ("instance show", "instance start", "instance stop", "instance reboot", "instance delete", "image show",
                      "image delete", "flavor show", "flavor delete", "key show", "key delete", "user show", "user delete",
                      "node show", "node enable", "node disable", "node remove", "operation show",
                      f"image prefill {IMAGE}", f"instance create x --flavor {FLAVOR} --image",
                      f"instance create x --image {IMAGE} --flavor"):
            with self.subTest(words):
                result = fleet.roost(*words.split(), "nosuch", check=False)
                self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
                self.assertIn("nosuch", result.stdout + result.stderr, "says what it does not know")
        result = fleet.roost("instance", "list", check=False, token="stale")
        self.assertEqual(result.returncode, 1)
        self.assertIn("roost login", result.stderr)
        self.assertEqual(fleet.roost("instance", "list").returncode, 0)
