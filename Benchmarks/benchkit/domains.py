"""Domains of libvirt: when they start, and the same domain made by `virsh create`, without Roost."""

import datetime
import re
import subprocess
import time
import uuid
import xml.etree.ElementTree as ElementTree

from .guests import URI, virsh

QCOW_OPTIONS = ("-q", "-f", "qcow2", "-F", "raw")


class Events:
    """Lifecycle events as libvirt tells them, with the time at which it did."""

    def __init__(self, site):
        self.program = site.start(["virsh", "-q", "-c", URI, "event", "--event", "lifecycle", "--loop", "--timestamp"],
                                  "events")

    def starts(self):
        """Every start up to now: the domain's name, and when it was, by the wall clock."""
        found = re.findall(r"^(\S+ \S+): event 'lifecycle' for domain '?([^\s':]+)'?: Started", self.program.log.read_text(),
                           re.MULTILINE)
        return [(name, wall_clock(text)) for text, name in found]

    def started(self, site, name):
        """When the domain was started, by the wall clock."""
        return site.wait(f"the event of {name}", lambda: [when for other, when in self.starts() if other == name], 60,
                         pause=0.01)[0]

    def first_start(self, site, since):
        """When the first domain after a moment was started."""
        return site.wait("a domain starts", lambda: [when for _, when in self.starts() if when >= since], 60, pause=0.01)[0]


def wall_clock(text):
    when = datetime.datetime.strptime(text.replace("+0000", ""), "%Y-%m-%d %H:%M:%S.%f")
    return when.replace(tzinfo=datetime.timezone.utc).timestamp()


def adapt(text, folder):
    """The same domain under another name, with files of its own."""
    root = ElementTree.fromstring(text)
    name = f"benchmark-{uuid.uuid4()}"
    root.find("name").text = name
    root.find("uuid").text = str(uuid.uuid4())
    # An agent must not take it for its own.
    root.remove(root.find("metadata"))
    disk, seed = folder / "disk.qcow2", folder / "seed.iso"
    for source, path in zip(root.findall("devices/disk/source"), (disk, seed)):
        source.set("file", str(path))
    root.find("devices/interface/mac").set("address", "52:54:00:00:00:%02x" % (uuid.uuid4().int & 255))
    for log in root.iter("log"):
        log.set("file", str(folder / "console.log"))
    return name, ElementTree.tostring(root, encoding="unicode"), disk, seed


def create(text, original, folder):
    """`virsh create` of the adapted domain, whose disk and seed are made beforehand: its name, and when it was asked for."""
    folder.mkdir()
    folder.chmod(0o711)
    base = ElementTree.fromstring(text).find("devices/disk/backingStore/source").get("file")
    name, adapted, disk, seed = adapt(text, folder)
    size = int(re.search(r"virtual size: .* \((\d+) bytes\)", subprocess.run(
        ["qemu-img", "info", "-U", original / "disk.qcow2"], capture_output=True, text=True).stdout).group(1))
    subprocess.run(["qemu-img", "create", *QCOW_OPTIONS, "-b", base, disk, str(size)], check=True)
    seed.write_bytes((original / "seed.iso").read_bytes())
    document = folder / "domain.xml"
    document.write_text(adapted)
    began = time.time()
    virsh("create", document)
    return name, began


def keep(folder, kept):
    """Copies of an instance's disk and seed, from which `create` goes on once the instance is gone."""
    kept.mkdir()
    for name in ("disk.qcow2", "seed.iso"):
        (kept / name).write_bytes((folder / name).read_bytes())
    return kept
