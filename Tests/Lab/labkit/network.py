"""The lab's network: one bridge in a core namespace, one shaped link from it to each member."""

import json
import subprocess
from pathlib import Path

from .record import LabError

PREFIX = "roostlab-"
CORE = PREFIX + "core"
BRIDGE = "roost0"
# The end of the link by which this machine itself reaches the lab, as a user's computer reaches a site.
OUTSIDE = "roostlab"
OUTSIDE_ADDRESS = "10.99.0.254"
MANAGER_ADDRESS = "10.99.0.1"
# In front of several managers.
PROXY_ADDRESS = "10.99.0.9"


def run(*command, check=True):
    result = subprocess.run(command, capture_output=True, text=True)
    if check and result.returncode != 0:
        raise LabError(f"{' '.join(command)}: {result.stderr.strip() or result.stdout.strip()}")
    return result


def namespace(member):
    return PREFIX + member


def link_name(member):
    """The core's end of a member's link."""
    return "v-" + member


def namespace_exists(name):
    return Path("/run/netns", name).exists()


def make_core():
    run("ip", "netns", "add", CORE)
    run("ip", "-n", CORE, "link", "set", "lo", "up")
    run("ip", "-n", CORE, "link", "add", BRIDGE, "type", "bridge")
    run("ip", "-n", CORE, "link", "set", BRIDGE, "up")
    run("ip", "link", "add", OUTSIDE, "type", "veth", "peer", "name", "v-outside", "netns", CORE)
    run("ip", "-n", CORE, "link", "set", "v-outside", "master", BRIDGE, "up")
    run("ip", "address", "add", OUTSIDE_ADDRESS + "/24", "dev", OUTSIDE)
    run("ip", "link", "set", OUTSIDE, "up")


def make_member(member, address, rate=None, latency_ms=None):
    """A namespace with `eth0` on the lab's bridge. What an earlier life of the namespace held is gone."""
    space = namespace(member)
    remove_namespace(space)
    run("ip", "-n", CORE, "link", "delete", link_name(member), check=False)
    run("ip", "netns", "add", space)
    run("ip", "-n", space, "link", "set", "lo", "up")
    run("ip", "-n", CORE, "link", "add", link_name(member), "type", "veth", "peer", "name", "eth0", "netns", space)
    run("ip", "-n", CORE, "link", "set", link_name(member), "master", BRIDGE, "up")
    run("ip", "-n", space, "address", "add", address + "/24", "dev", "eth0")
    run("ip", "-n", space, "link", "set", "eth0", "up")
    # Guests on a host's NAT network get their way out through the host, which has none beyond the lab.
    run("ip", "-n", space, "route", "add", "default", "via", OUTSIDE_ADDRESS)
    shape(member, rate, latency_ms)


def shape(member, rate, latency_ms):
    """Limits both directions of a link: each end shapes what it sends."""
    for space, device in ((CORE, link_name(member)), (namespace(member), "eth0")):
        parent = ["root"]
        if latency_ms:
            # Half on each way; the round trip then takes what was asked for.
            run("tc", "-n", space, "qdisc", "replace", "dev", device, "root", "handle", "1:", "netem",
                "delay", f"{latency_ms / 2}ms", "limit", "20000")
            parent = ["parent", "1:1"]
        if rate:
            run("tc", "-n", space, "qdisc", "replace", "dev", device, *parent, "tbf",
                "rate", rate, "burst", "256kb", "latency", "100ms")


def set_link(member, up):
    run("ip", "-n", CORE, "link", "set", link_name(member), "up" if up else "down")


def links():
    """State and byte counters of every link, by member, as the member sees them."""
    output = run("ip", "-n", CORE, "-s", "-j", "link", "show").stdout
    found = {}
    for link in json.loads(output):
        if link["ifname"].startswith("v-"):
            counters = link["stats64"]
            found[link["ifname"][2:]] = {
                "up": "UP" in link["flags"],
                "sent_bytes": counters["rx"]["bytes"],
                "received_bytes": counters["tx"]["bytes"],
            }
    return found


def remove_namespace(name):
    if namespace_exists(name):
        run("ip", "netns", "delete", name)


def remove_outside():
    run("ip", "link", "delete", OUTSIDE, check=False)
