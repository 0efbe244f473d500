"""Many simulated hosts in one process (Benchmarks/FleetLoad), each with a node, a certificate and a session of its own."""

import time

from .site import LOOPBACK

FLEET_LOAD = "roost-fleet-load"


class Fleet:
    """Hosts that join with tokens and on which whatever is wanted comes true at once."""

    def __init__(self, site, count):
        self.count = count
        answers = [site.call("POST", "/v1/nodes/tokens", {"node_name": self.name(number)}, expect=201) for number in range(count)]
        tokens = site.home / "tokens"
        tokens.write_text("".join(answer["token"] + "\n" for answer in answers))
        began = time.monotonic()
        with open(tokens, "rb") as lines:
            self.program = site.start(
                [site.programs / FLEET_LOAD, "join", "--manager", f"{LOOPBACK}:{site.agents}",
                 "--ca-fingerprint", answers[0]["ca_fingerprint"]], "fleet-load", stdin=lines)
        site.wait(f"{count} sessions", lambda: self.tally()["open"] == count, 300, pause=0.5)
        site.wait_for_nodes(count)
        self.joined_seconds = time.monotonic() - began

    @staticmethod
    def name(number):
        return f"simulated-{number}"

    def tally(self):
        """What the agents say of themselves: sessions that are open, were lost, and heartbeats sent."""
        lines = [line.split() for line in self.program.log.read_text().splitlines() if line.startswith("open ")]
        return dict(zip(lines[-1][::2], map(int, lines[-1][1::2]))) if lines else {"open": 0, "lost": 0, "heartbeats": 0}
