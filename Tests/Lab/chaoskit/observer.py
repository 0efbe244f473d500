"""What really runs, taken from the kernel's list of processes and from nothing of Roost's."""

import re
import threading
import time
from pathlib import Path

UUID = re.compile(rb"-uuid\0([0-9a-f-]{36})\0")
TICKS = 100


def guests(folder):
    """(instance, host, pid, start tick) of every QEMU of the lab in `folder`."""
    place = re.compile(re.escape(str(folder).encode()) + rb"/(host\d+)/")
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            command = (process / "cmdline").read_bytes()
            if b"qemu-system" not in command.split(b"\0", 1)[0]:
                continue
            start = int((process / "stat").read_text().rsplit(")", 1)[1].split()[19])
        except (OSError, IndexError):
            continue
        instance, host = UUID.search(command), place.search(command)
        if instance and host:
            found.append((instance[1].decode(), host[1].decode(), int(process.name), start))
    return found


class Observer(threading.Thread):
    """Looks several times a second; remembers every guest process with its first and last sight."""

    def __init__(self, folder, pause=0.2):
        super().__init__(name="observer", daemon=True)
        self.folder, self.pause = folder, pause
        self.stopping = threading.Event()
        # (instance, host, pid, start) -> [first seen, last seen]
        self.lives = {}
        self.doubles = set()
        self.longest_gap = 0.0

    def run(self):
        last = time.monotonic()
        while not self.stopping.is_set():
            now = time.monotonic()
            self.longest_gap, last = max(self.longest_gap, now - last), now
            at_once = {}
            for life in guests(self.folder):
                self.lives.setdefault(life, [now, now])[1] = now
                at_once.setdefault(life[0], set()).add(life[1:])
            self.doubles |= {(instance, tuple(sorted(lives))) for instance, lives in at_once.items() if len(lives) > 1}
            self.stopping.wait(self.pause)

    def run_seconds(self, instance):
        return sum(last - first + self.pause for life, (first, last) in list(self.lives.items()) if life[0] == instance)

    def starts(self, instance):
        return sum(1 for life in list(self.lives) if life[0] == instance)
