"""Small file systems of their own, so that a disk can be full without filling the machine's."""

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
    """Leaves no byte. Written, not only reserved: some programs look at the free space, others at errors."""
    ballast = Path(folder) / "ballast"
    with open(ballast, "ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            block = b"\0" * size
            try:
                while True:
                    if file.write(block) == 0:
                        break
            except OSError:
                continue


def free(folder):
    (Path(folder) / "ballast").unlink(missing_ok=True)
