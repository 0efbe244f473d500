"""Every format that is accepted, on every host: the file is, byte for byte, what `qemu-img convert` makes of the source."""

import hashlib
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fleet import LabTest, wait_until

KIB, MIB = 1 << 10, 1 << 20

# Name, what it is declared as, qemu-img's own name for it, and its options (`None`: the raw content as it is).
FORMATS = [
    ("raw", "raw", "raw", None),
    ("qcow2-v2", "qcow2", "qcow2", ["-o", "compat=0.10"]),
    ("qcow2-v3", "qcow2", "qcow2", ["-o", "compat=1.1"]),
    ("qcow2-v2-compressed", "qcow2", "qcow2", ["-c", "-o", "compat=0.10"]),
    ("qcow2-zlib", "qcow2", "qcow2", ["-c", "-o", "compression_type=zlib"]),
    ("qcow2-zstd", "qcow2", "qcow2", ["-c", "-o", "compression_type=zstd"]),
    ("qcow2-4k", "qcow2", "qcow2", ["-o", "cluster_size=4K"]),
    ("qcow2-64k", "qcow2", "qcow2", ["-o", "cluster_size=64K"]),
    ("qcow2-2m", "qcow2", "qcow2", ["-o", "cluster_size=2M"]),
    ("qcow2-2m-zstd", "qcow2", "qcow2", ["-c", "-o", "cluster_size=2M,compression_type=zstd"]),
    ("qcow2-subclusters", "qcow2", "qcow2", ["-o", "cluster_size=64K,extended_l2=on"]),
    ("vmdk-sparse", "vmdk", "vmdk", ["-o", "subformat=monolithicSparse"]),
    ("vmdk-stream", "vmdk", "vmdk", ["-o", "subformat=streamOptimized"]),
    ("vhd-dynamic", "vhd", "vpc", ["-o", "subformat=dynamic"]),
    ("vhd-dynamic-exact", "vhd", "vpc", ["-o", "subformat=dynamic,force_size=on"]),
    ("vhd-fixed", "vhd", "vpc", ["-o", "subformat=fixed"]),
    ("vdi-dynamic", "vdi", "vdi", []),
    ("vdi-static", "vdi", "vdi", ["-o", "static=on"]),
]


class Formats(LabTest):
    def setUp(self):
        self.folder = self.fleet.record.folder / "formats"
        self.folder.mkdir()
        self.images = {}

    def tearDown(self):
        super().tearDown()
        for file in self.folder.iterdir():
            file.unlink()
        self.folder.rmdir()
        for image in self.images.values():
            self.fleet.call("DELETE", f"/v1/images/{image}", expect=(202, 204, 404, 409))

    def content(self, name):
        """A raw disk of each kind of data, different for each name: noise, text, long and short runs of zeros, in no
        order; neither its size nor any of its borders fits a chunk or a cluster."""
        choice = random.Random(f"roost {name}")
        line = f"{name}: a line of text that is much like the line before it\n".encode()
        kinds = {"noise": choice.randbytes, "zeros": bytes, "text": lambda count: (line * (count // len(line) + 1))[:count]}
        # A run of zeros longer than a chunk, then what it takes of everything else.
        runs = [("noise", 700 * KIB + 13), ("zeros", 3 * MIB + 5000), ("text", 300 * KIB + 1)]
        runs += [(choice.choice(list(kinds)), choice.randrange(1, 200 * KIB)) for _ in range(30)] + [("zeros", 700 * KIB)]
        path = self.folder / f"{name}.content"
        with open(path, "wb") as file:
            for kind, count in runs:
                file.write(kinds[kind](count))
            # The disk of a format has whole sectors; a raw file may end anywhere.
            file.write(b"the end" * 31 if name == "raw" else choice.randbytes(-file.tell() % 512 or 512))
        return path

    def make(self, name, format_name, options):
        """The source in its format, and the SHA-256 and size of what `qemu-img convert` makes of it."""
        content, source, expected = self.content(name), self.folder / f"{name}.source", self.folder / f"{name}.expected"
        if options is None:
            content.rename(source)
        else:
            self.qemu_img("convert", "-f", "raw", "-O", format_name, *options, content, source)
            content.unlink()
        self.qemu_img("convert", "-f", format_name, "-O", "raw", source, expected)
        digest, size = digest_of(expected), expected.stat().st_size
        expected.unlink()
        return source, digest, size

    def qemu_img(self, *words):
        subprocess.run(["qemu-img", *words], check=True, capture_output=True, text=True)

    def register(self, name, declared, source):
        made = self.fleet.roost_json("image", "create", f"format-{name}", "--file", str(source), "--format", declared)
        self.images[name] = made["id"]

    def active(self, name):
        image = self.fleet.call("GET", f"/v1/images/{self.images[name]}", expect=200)
        self.assertNotEqual(image["status"], "error", f"{name}: {image.get('status_reason')}")
        return image["status"] == "active"

    def path(self, host, name):
        return host.folder / "agent-data/images/_base" / hashlib.sha1(self.images[name].encode()).hexdigest()

    def test_every_format_ends_as_qemu_img_would_convert_it_on_every_host(self):
        fleet, hosts = self.fleet, self.fleet.hosts()
        with ThreadPoolExecutor(4) as pool:
            made = dict(zip([name for name, *_ in FORMATS], pool.map(
                lambda one: self.make(one[0], one[2], one[3]), FORMATS)))
            list(pool.map(lambda one: self.register(one[0], one[1], made[one[0]][0]), FORMATS))
        began = time.monotonic()
        operations = {}
        for name, *_ in FORMATS:
            wait_until(f"{name} is active", lambda: self.active(name), 60)
            operations[name] = fleet.call(
                "POST", f"/v1/images/{self.images[name]}/prefill", {"nodes": [host.name for host in hosts]}, expect=202)["id"]
        for name, operation in operations.items():
            ended = fleet.operation(operation)
            self.assertEqual(ended["status"], "succeeded", f"{name}: {ended}")
        print(f"    {len(FORMATS)} images on {len(hosts)} hosts {time.monotonic() - began:.1f} s after they were registered")
        for name, (_, digest, size) in made.items():
            with self.subTest(name):
                image = fleet.call("GET", f"/v1/images/{self.images[name]}", expect=200)
                self.assertEqual(image["size_bytes"], size)
                for host in hosts:
                    self.assertEqual(self.path(host, name).stat().st_size, size, host.name)
                    self.assertEqual(digest_of(self.path(host, name)), digest, f"P7: {host.name}")


def digest_of(path):
    with open(Path(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
