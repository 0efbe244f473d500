"""What an operator of borrowed hosts waits for: the status of all, their end of service, the first guest on one that came back."""

import os
import statistics
import subprocess
import time

from . import domains
from .guests import HOST, Host, virsh
from .held import SPARE_FILES, HeldFleet, populate, sockets
from .programs import BenchmarkError, progress
from .report import Report, spread
from .site import Site

STATUS_NODES, STATUS_INSTANCES, STATUS_RUNS = 10_000, 40_000, 7
STATUS_GOAL_SECONDS = 1.0
DRAIN_NODES, DRAIN_GUESTS = 1_000, 5_000
# Of the slowest host's guests; the quickest take half.
SHUTDOWN_SECONDS = 8
DRAIN_GOAL_RATIO = 1.5
ENABLE_RUNS = 7
ENABLE_GOAL_SECONDS = 2.0


def measure(programs, parts):
    report = Report("borrowed hosts")
    for part in parts:
        {"status": status, "disable": disable, "enable": enable}[part](programs, report)
    return report.show()


def roost(site, *arguments, check=True):
    """The command as an operator runs it, into a file or pipe: what it printed, and the seconds until it ended."""
    # Not this user's own profiles.
    environment = {**os.environ, "ROOST_ENDPOINT": site.endpoint, "ROOST_CACERT": str(site.authority), "ROOST_TOKEN": site.token(),
                   "XDG_CONFIG_HOME": str(site.home / "config")}
    began = time.perf_counter()
    result = subprocess.run([site.programs / "roost", *map(str, arguments)], env=environment, capture_output=True, text=True,
                            stdin=subprocess.DEVNULL)
    took = time.perf_counter() - began
    if check and result.returncode != 0:
        raise BenchmarkError(f"roost {' '.join(map(str, arguments))}: exit {result.returncode}: {(result.stderr + result.stdout)[-2000:]}")
    return result.stdout, took


def connected(site, report, nodes, instances, *options):
    """A manager with that record, and the sessions of all its agents."""
    ids = populate(site, nodes, instances)
    site.start_manager()
    held = min(nodes, sockets() - SPARE_FILES)
    if held < nodes:
        report.note(f"{held} of {nodes} agents are connected: a process may open no more than {sockets()} files here")
        lines = ids.read_text().splitlines(keepends=True)
        ids.write_text("".join(lines[:held]))
    fleet = HeldFleet(site, ids, "--spread", "5", *options)
    site.wait("certificates are signed", fleet.is_signed, 600, pause=0.5)
    site.wait(f"{held} sessions", lambda: fleet.tally()["open"] == held, 600, pause=0.25)
    site.wait_for_nodes(held)
    return fleet


def status(programs, report):
    with Site(programs, {"agents": {"heartbeat_interval_ms": 10_000}}) as site:
        progress(f"status of {STATUS_NODES} nodes")
        connected(site, report, STATUS_NODES, STATUS_INSTANCES)
        # What connecting has left to do is done by then.
        time.sleep(10)
        commands, requests, sizes = [], [], set()
        for _ in range(STATUS_RUNS):
            text, took = roost(site, "node", "status")
            rows = [line for line in text.splitlines() if "populated-" in line]
            addresses = sum(line.count("192.168.177.") for line in rows)
            if (len(rows), addresses) != (STATUS_NODES, STATUS_INSTANCES):
                raise BenchmarkError(f"{len(rows)} nodes and {addresses} addresses are shown: no figure")
            commands.append(took)
            sizes.add(len(text))
            began = time.perf_counter()
            site.pages("/v1/nodes")
            requests.append(time.perf_counter() - began)
    middle = statistics.median(commands)
    report.add(f"roost node status, {STATUS_NODES} nodes, {STATUS_INSTANCES} instances (least / median / most)", spread(commands),
               f"< {1000 * STATUS_GOAL_SECONDS:.0f} ms", middle < STATUS_GOAL_SECONDS)
    report.add("  the same answers fetched by a script that shows nothing", spread(requests))
    report.note(f"status: {max(sizes) / 1e6:.1f} MB of text; all nodes have sessions, with a heartbeat every ten seconds")


def disable(programs, report):
    with Site(programs) as site:
        progress(f"{DRAIN_GUESTS} guests on {DRAIN_NODES} nodes are stopped")
        connected(site, report, DRAIN_NODES, DRAIN_GUESTS, "--shutdown", str(1000 * SHUTDOWN_SECONDS))
        words = ("--for-real", "--vm-timeout", "120", "--parallel", DRAIN_NODES)
        text, whole = roost(site, "node", "disable", f"populated-[0-{DRAIN_NODES - 1}]", *words)
        stopped = text.count("[ OK ] Stopping instance")
        if stopped != DRAIN_GUESTS:
            raise BenchmarkError(f"{stopped} guests were stopped: no figure")
        drained = [event["resource"]["name"] for event in site.pages("/v1/events?kind=node.drained")]
        began = time.perf_counter()
        roost(site, "node", "enable", f"populated-[0-{DRAIN_NODES - 1}]")
        site.wait("all guests run again", lambda: all_run(site), 120, pause=1)
        report.note(f"all {DRAIN_GUESTS} guests ran again {time.perf_counter() - began:.1f} s after 'roost node enable' of all nodes")
        # Who was last is the slowest; alone it has the manager to itself.
        alone = [roost(site, "node", "disable", node, *words)[1] for node in drained[-3:]]
    slowest = max(alone)
    ratio = whole / slowest
    report.add(f"roost node disable, {DRAIN_NODES} nodes, {DRAIN_GUESTS} guests", f"{whole:.1f} s")
    report.add("  the slowest of them alone", f"{slowest:.1f} s")
    report.add("  all beside the slowest", f"{ratio:.2f} times", f"<= {DRAIN_GOAL_RATIO} times", ratio <= DRAIN_GOAL_RATIO)
    report.note(f"disable: guests take {SHUTDOWN_SECONDS / 2:.0f} to {SHUTDOWN_SECONDS} s to shut down, on each node another time")


def all_run(site):
    return not [one for one in site.pages("/v1/instances") if one["status"] != "ACTIVE"]


def enable(programs, report):
    with Site(programs) as site:
        site.start_manager()
        with Host(site) as host:
            report.note(host.versions())
            events = domains.Events(site)
            # The first guest of a host's life makes its network, too: it is told apart, and gives the XML for `virsh create`.
            first, identifier = filled(site, events)
            text = virsh("dumpxml", f"roost-{identifier}", "--migratable")
            kept = domains.keep(host.data / "instances" / identifier, site.home / "kept")
            report.note(f"the very first guest, with the host's network: {1000 * first:.0f} ms")
            host.delete(identifier)
            ours, theirs, again = [], [], []
            for number in range(ENABLE_RUNS):
                progress(f"enabling, {number + 1} of {ENABLE_RUNS}")
                took, identifier = filled(site, events)
                ours.append(took)
                again.append(restarted(site, events, identifier))
                host.delete(identifier)
                name, began = domains.create(text, kept, site.home / f"virsh-{number}")
                theirs.append(events.started(site, name) - began)
                virsh("destroy", name)
    middle, plain = statistics.median(ours), statistics.median(theirs)
    report.add("roost node enable and fill to the domain's start, image held (least / median / most)", spread(ours),
               f"< {1000 * ENABLE_GOAL_SECONDS:.0f} ms", middle < ENABLE_GOAL_SECONDS)
    report.add("roost node enable to the start of a guest that disabling had stopped", spread(again),
               f"< {1000 * ENABLE_GOAL_SECONDS:.0f} ms", statistics.median(again) < ENABLE_GOAL_SECONDS)
    report.add("  virsh create of the same domain, its disk made before", spread(theirs))
    report.add("  enable and fill beside it", f"{middle / plain:.1f} times")


def off(site):
    """Out of service, and empty."""
    roost(site, "node", "disable", HOST, "--for-real", "--force-shutoff", "--vm-timeout", "0")


def filled(site, events):
    """From an empty node that is disabled: seconds from `enable` to the first domain's start, and the instance."""
    off(site)
    began = time.time()
    roost(site, "node", "enable", HOST)
    roost(site, "node", "fill", "--flavor", "guest", "--image", "guest", "--limit", "1", "--for-real")
    took = events.first_start(site, began) - began
    (one,) = [one for one in site.pages("/v1/instances") if one["status"] != "DELETED"]
    return took, one["id"]


def restarted(site, events, identifier):
    """The same for a guest that was there before."""
    off(site)
    began = time.time()
    roost(site, "node", "enable", HOST)
    return events.first_start(site, began) - began
