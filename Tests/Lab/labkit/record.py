"""What the lab has made, on disk, so that another command can go on with it and `lab down` removes exactly that."""

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path


class LabError(Exception):
    """Something that the person at the keyboard can act on; printed without a trace."""


DEFAULT_STATE = "/var/tmp/roost-lab"


def process_start(pid):
    """The start time of a process in clock ticks since boot, or None where it is gone or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def identify(pid):
    """A process that no later process with the same number can be mistaken for."""
    return {"pid": pid, "start": process_start(pid)}


def is_running(process):
    return bool(process) and process["start"] is not None and process_start(process["pid"]) == process["start"]


def end(process, number=signal.SIGKILL, wait_seconds=10):
    """Signals a process of ours; after SIGKILL also waits until it is gone. True if it was running."""
    if not is_running(process):
        return False
    os.kill(process["pid"], number)
    deadline = time.monotonic() + wait_seconds
    while number == signal.SIGKILL and is_running(process):
        if time.monotonic() > deadline:
            raise LabError(f"process {process['pid']} does not end")
        time.sleep(0.01)
    return True


def resume(process):
    """Lets a stopped process go on, and with it the nsenter that started it: that stops when its child does, and would never
    bury it."""
    if is_running(process):
        fields = Path(f"/proc/{process['pid']}/stat").read_text().rsplit(")", 1)[1].split()
        for pid in (int(fields[1]), process["pid"]):
            os.kill(pid, signal.SIGCONT)


def children(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def progress(text):
    print(f"lab: {text}", file=sys.stderr, flush=True)


class Record:
    """The lab's state folder. Changes are made under a lock: two commands may run at once."""

    def __init__(self, folder):
        self.folder = Path(folder).resolve()
        self.path = self.folder / "lab.json"

    def exists(self):
        return self.path.exists()

    def load(self):
        if not self.exists():
            raise LabError(f"no lab is up at {self.folder}; run: lab up 3 --state {self.folder}")
        return json.loads(self.path.read_text())

    def update(self, change):
        """Applies `change` to the content and writes it back, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            content = json.loads(self.path.read_text()) if self.exists() else {}
            change(content)
            temporary = self.path.with_suffix(".new")
            temporary.write_text(json.dumps(content, indent=2))
            temporary.rename(self.path)
            return content

    def member(self, name):
        members = self.load()["members"]
        if name not in members:
            raise LabError(f"no {name} in this lab; there are: {', '.join(members)}")
        return members[name]

    def set_process(self, name, role, process):
        def change(content):
            content["members"][name]["processes"][role] = process

        self.update(change)
