"""A Roost site over namespaces: the manager at the head, an agent with an in-memory hypervisor on each host."""

import contextlib
import http.client
import ssl
import time
import uuid
from pathlib import Path

from labkit.site import merged, yaml  # noqa: E402  (the site's import made Tests/Lab known)

from .hosts import HEAD_ADDRESS, tool, wait
from .machine import Usage
from .programs import BenchmarkError
from .site import LOOPBACK, Site

CHUNKS = 7402
LIMIT = 600


class ImageSite:
    """Used with `with`, inside of `Hosts`."""

    def __init__(self, programs, hosts):
        self.hosts = hosts
        self.site = Site(programs, {
            "agents": {"host": "0.0.0.0"}, "chunks": {"host": "0.0.0.0", "advertise": ""}, "log": {"level": "notice"}})
        self.site.settings["chunks"]["advertise"] = f"{HEAD_ADDRESS}:{self.site.chunks}"
        self.site.configuration.write_text(yaml(self.site.settings) + "\n")
        self.agents = {}
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.site)
            self.site.start_manager()
            for number, host in enumerate(self.hosts, start=1):
                self.agents[host.name] = self._start_agent(number, host)
            self.site.wait_for_nodes(len(self.hosts))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *words):
        return self.stack.__exit__(*words)

    def _start_agent(self, number, host):
        site = self.site
        manager = f"{HEAD_ADDRESS}:{site.agents}"
        configuration = site.home / f"{host.name}.yaml"
        configuration.write_text(yaml(merged({
            "data": str(host.folder / "agent"), "manager": {"address": manager},
            "node": {"name": host.name}, "hypervisor": {"uri": "memory:"}, "network": {"subnet": f"10.{number}.0.0/21"},
            "chunks": {"host": host.address, "port": CHUNKS, "advertise": f"{host.address}:{CHUNKS}"},
            "log": {"level": "notice"}}, {})) + "\n")
        token = site.call("POST", "/v1/nodes/tokens", {"node_name": host.name}, expect=201)
        agent = site.programs / "roost-agent"
        tool(*host.command(agent, "join", "--config", configuration, "--manager", manager, "--token", token["token"],
                           "--ca-fingerprint", token["ca_fingerprint"]))
        return site.start(host.command(agent, "run", "--config", configuration), host.name)

    # Images

    def upload(self, name, path, image_format):
        """Sends a file, as `roost image create` does; returns when its last byte was sent, and the image's ID."""
        image = self.site.call("POST", "/v1/images", {"name": name, "format": image_format}, expect=201)
        context = ssl.create_default_context(cafile=str(self.site.authority))
        connection = http.client.HTTPSConnection(LOOPBACK, self.site.api, context=context, timeout=LIMIT, blocksize=1 << 20)
        try:
            connection.putrequest("PUT", f"/v1/images/{name}/file")
            for header, value in (("Authorization", f"Bearer {self.site.token()}"), ("Content-Type", "application/octet-stream"),
                                  ("Content-Length", str(path.stat().st_size)), ("Idempotency-Key", uuid.uuid4().hex)):
                connection.putheader(header, value)
            connection.endheaders()
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    connection.send(block)
            sent = time.monotonic()
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 202:
                raise BenchmarkError(f"the upload of {name}: {answer.status} {body.decode(errors='replace')}")
        finally:
            connection.close()
        return sent, image["id"]

    def wait_active(self, name):
        def active():
            image = self.site.call("GET", f"/v1/images/{name}")
            if image["status"] == "error":
                raise BenchmarkError(f"image {name}: {image['status_reason']}")
            return image["status"] == "active"

        self.site.wait(f"image {name} is active", active, LIMIT, pause=0.05)

    def events(self, image):
        """What happened to an image, oldest first."""
        return self.site.call("GET", f"/v1/events?resource={image}&limit=100")["items"]

    def wait_settled(self, name):
        """Until nothing is left to do for the image: all chunks are packed, and the upload is gone."""
        self.wait_active(name)
        staging = Path(self.site.settings["data"]) / "images/staging"
        self.site.wait(f"image {name} is packed", lambda: not any(staging.iterdir()), LIMIT, pause=0.05)

    def prefill(self, name, hosts):
        """Asks for the image on the hosts, and returns the seconds until each has it whole and verified."""
        began, _ = self.begin_prefill(name, hosts)
        self.await_held(name, hosts)
        return time.monotonic() - began

    def begin_prefill(self, name, hosts):
        """Asks for the image on the hosts; when, and the operation."""
        began = time.monotonic()
        operation = self.site.call(
            "POST", f"/v1/images/{name}/prefill", {"nodes": [host.name for host in hosts]}, expect=202)
        return began, operation["id"]

    def await_held(self, name, hosts):
        wait(f"{len(hosts)} hosts hold {name}", lambda: all(held(host) for host in hosts), LIMIT)

    def chain(self, operation):
        """Each host's upstream as planned now, by names; `None` for the manager, and for who has none yet."""
        hosts = self.site.call("GET", f"/v1/operations/{operation}")["result"]["hosts"]
        return {one["node"]: one["source"] for one in hosts}

    def check(self, hosts, expected, digest):
        for host in hosts:
            (file,) = held(host)
            if digest(file) != expected:
                raise BenchmarkError(f"{host.name} holds another image than was sent: no figure")

    def remove(self, name, hosts):
        # A prefill that has just ended may not have been told to the manager yet.
        self.site.wait("the prefill has ended", lambda: not [
            one for one in self.site.pages("/v1/operations") if one["status"] == "running"], 60)
        self.site.call("DELETE", f"/v1/images/{name}", expect=204)
        wait(f"{name} is gone from all hosts", lambda: not any(any(base(host).glob("*")) for host in hosts), 60, pause=0.1)

    def cpu_seconds(self, host):
        return Usage(self.agents[host.name].pid).cpu_seconds()


def base(host):
    return host.folder / "agent/images/_base"


def arrived(host):
    """Bytes on a host of an image that is on its way there: it has no holes but those of what is still to come."""
    with contextlib.suppress(FileNotFoundError):
        return sum(path.stat().st_blocks * 512 for path in base(host).iterdir() if path.suffix in ("", ".partial"))
    return 0


def held(host):
    """The complete images of a host: published under their name alone once all is verified."""
    with contextlib.suppress(FileNotFoundError):
        return [path for path in base(host).iterdir() if "." not in path.name]
    return []
