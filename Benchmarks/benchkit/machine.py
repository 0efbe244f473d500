"""The machine, and processes on it, as the kernel tells."""

import os
import platform
import re
import subprocess
from pathlib import Path

from .programs import REPOSITORY

MEGABYTE = 1_000_000
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def describe():
    """What a reader must know to compare figures: two lines."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()).group(1)) / (1 << 20)
    load = Path("/proc/loadavg").read_text().split()[0]
    return [
        f"{model.group(1) if model else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"Linux {platform.release()}, {system()}",
        f"{swift()}; load average before the run {load}",
    ]


def system():
    text = Path("/etc/os-release").read_text()
    return re.search(r'^PRETTY_NAME="?([^"\n]*)', text, re.MULTILINE).group(1)


def swift():
    """The compiler on this machine; programs named with --bin may be of another."""
    found = subprocess.run([str(REPOSITORY / "packaging/find-swift")], capture_output=True, text=True)
    if found.returncode != 0:
        return "no Swift here"
    text = subprocess.run([found.stdout.strip() + "/swift", "--version"], capture_output=True, text=True).stdout
    version = re.search(r"Swift version (\S+)", text)
    return f"Swift {version.group(1)}" if version else "Swift of unknown version"


class Usage:
    """What a process uses, read from /proc."""

    def __init__(self, pid):
        self.folder = Path(f"/proc/{pid}")

    def resident(self):
        """Resident bytes: all, those of its own, and those of files (its program and libraries) that others may share."""
        status = (self.folder / "status").read_text()
        return tuple(int(re.search(rf"{key}:\s+(\d+) kB", status).group(1)) * 1024
                     for key in ("VmRSS", "RssAnon", "RssFile"))

    def proportional(self):
        """Resident bytes where pages that n processes share count as 1/n."""
        rollup = (self.folder / "smaps_rollup").read_text()
        return int(re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE).group(1)) * 1024

    def peak(self):
        return int(re.search(r"VmHWM:\s+(\d+) kB", (self.folder / "status").read_text()).group(1)) * 1024

    def cpu_seconds(self):
        """User and system time of all its threads."""
        # The name, in parentheses, may hold spaces.
        fields = (self.folder / "stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
