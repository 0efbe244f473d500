"""Small file systems of their own, so that a disk can be full without filling the machine's."""

import os
import subprocess
from pathlib import Path


def make(folder, mebibytes):
    """An ext4 of that size at `folder`; before the member is switched on, so that it sees it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    image = folder.with_suffix(".disk")
    with open(image, "wb") as file:
        file.truncate(mebibytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)


def remove(folder):
    subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


def fill(folder):
    """Leaves no byte. Most is reserved, so that the writing itself does not hold the machine up; the rest is written, since
    a file system keeps some back from who reserves."""
    with open(Path(folder) / "ballast", "ab", buffering=0) as ballast:
        end, size = ballast.tell(), 64 << 20
        while size >= 1 << 12:
            try:
                os.posix_fallocate(ballast.fileno(), end, size)
                end += size
            except OSError:
                size //= 2
        block = b"\0" * (1 << 12)
        try:
            while ballast.write(block) > 0:
                pass
        except OSError:
            pass


def free(folder):
    (Path(folder) / "ballast").unlink(missing_ok=True)
