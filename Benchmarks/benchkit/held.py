"""A big fleet on record, and one process that holds the sessions of all its agents (Benchmarks/FleetLoad)."""

import resource
import subprocess

from .fleet import FLEET_LOAD
from .machine import Usage
from .site import LOOPBACK

MEASURE = "roost-measure"
# Of the manager: what it has open besides agents' sessions, the API's clients among it.
SPARE_FILES = 500


def populate(site, nodes, instances):
    """Nodes, and instances on them, put into the record of a manager that does not run; a file of their IDs."""
    ids = site.home / "ids"
    subprocess.run(
        [site.programs / MEASURE, "populate", "--store", f"{site.settings['data']}/roost.sqlite", "--nodes", str(nodes),
         "--instances", str(instances), "--ids", ids], check=True)
    return ids


class HeldFleet:
    """The simulated agents, and what they say of themselves."""

    def __init__(self, site, ids, *options):
        with open(ids, "rb") as lines:
            self.program = site.start(
                [site.programs / FLEET_LOAD, "hold", "--manager", f"{LOOPBACK}:{site.agents}", "--site", site.settings["data"],
                 *options], "fleet-load", stdin=lines)
        self.usage = Usage(self.program.pid)

    def is_signed(self):
        return "signed" in self.program.log.read_text()

    def tally(self):
        lines = [line.split() for line in self.program.log.read_text().splitlines() if line.startswith("open ")]
        return dict(zip(lines[-1][::2], map(int, lines[-1][1::2]))) if lines else {"open": 0, "lost": 0, "heartbeats": 0, "samples": 0}


def sockets():
    """How many files a process may open; what starts from here inherits it."""
    wanted, (_, most) = 65_536, resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, most), max(wanted, most)))
    except (ValueError, OSError):
        # Only some may raise it beyond what they were given.
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
