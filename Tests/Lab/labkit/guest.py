"""The small guest's image, built once for each version of its recipe."""

import hashlib
import os
import subprocess
from pathlib import Path

LAB = Path(__file__).resolve().parent.parent


def image():
    """The file in the cache, made now where there is none."""
    recipe = hashlib.sha256()
    parts = [LAB / "guest/build", LAB / "../../packaging/images/assemble-disk", *(LAB / "guest/files").iterdir()]
    for path in sorted(parts):
        recipe.update(path.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "roost"
    made = cache / f"lab-guest-{recipe.hexdigest()[:12]}.qcow2"
    if not made.exists():
        subprocess.run([str(LAB / "guest/build"), str(made)], check=True)
    return made
