"""What is distributed: made anew by each run, the same in all of its ways."""

import os
import random
import shutil
import subprocess
from pathlib import Path

from .programs import REPOSITORY, BenchmarkError, progress

MEBIBYTE = 1 << 20
# Kept between runs: it is made of packages and takes minutes.
DEBIAN = Path("/var/tmp/roost-benchmark-debian.qcow2")


def noise(path, mebibytes):
    """Bytes that no compression makes smaller."""
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(MEBIBYTE))
    return path


def mixed(path, mebibytes):
    """Half noise, a quarter zeros, a quarter text (lines of a log), in runs of 64 KiB to 4 MiB in no order."""
    choice = random.Random(1)
    # Runs of each kind until its share is used up; the same for every run of the benchmark but for the noise.
    left = {"noise": mebibytes * MEBIBYTE // 2, "zeros": mebibytes * MEBIBYTE // 4, "text": mebibytes * MEBIBYTE // 4}
    lines = log_lines(choice)
    with path.open("wb") as file:
        while kinds := [kind for kind, count in left.items() if count]:
            kind = choice.choices(kinds, [left[one] for one in kinds])[0]
            count = min(left[kind], choice.randrange(1, 65) * 65536)
            left[kind] -= count
            if kind == "noise":
                file.write(os.urandom(count))
            elif kind == "zeros":
                file.write(bytes(count))
            else:
                text = b""
                while len(text) < count:
                    text += next(lines)
                file.write(text[:count])
    return path


def log_lines(choice):
    """Lines as a system's log has them, in pieces of some kilobytes."""
    messages = ["Accepted publickey for user{0} from 10.{1}.{2}.{3} port {4} ssh2", "session opened for user user{0}(uid={4})",
                "[{4}.{0}] eth0: link up, {1}000 Mbit/s, full duplex", "job {4} on node{1} finished with status {2} after {3} s",
                "GET /v1/instances/{4}{4} 200 {1}.{2} ms", "lease of 10.{1}.{2}.{3} renewed for {0} s"]
    units = ["sshd", "systemd-logind", "kernel", "scheduler", "api", "dhcp"]
    second = 0
    while True:
        block = []
        for _ in range(100):
            second += choice.randrange(3)
            kind = choice.randrange(len(messages))
            numbers = [choice.randrange(256) for _ in range(4)] + [choice.randrange(65536)]
            block.append(f"2026-05-{1 + second // 86400 % 28:02}T{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}Z "
                         f"cn{choice.randrange(1, 48):02} {units[kind]}[{choice.randrange(32768)}]: "
                         + messages[kind].format(*numbers) + "\n")
        yield "".join(block).encode()


def debian():
    """A compressed qcow2 of Debian, by the recipe that sites use; minutes the first time."""
    if not DEBIAN.exists():
        progress("making a Debian image (minutes, the first time)")
        subprocess.run([str(REPOSITORY / "packaging/install-packages"), "image"], check=True)
        result = subprocess.run([str(REPOSITORY / "packaging/images/debian-cloud"), str(DEBIAN)], capture_output=True, text=True,
                                stdin=subprocess.DEVNULL)
        if result.returncode != 0:
            raise BenchmarkError(f"debian-cloud: {result.stderr.strip()[-2000:]}")
    return DEBIAN


def copied(source, path):
    shutil.copyfile(source, path)
    return path
