"""Roost in the lab: configuration files, the manager, the agents, and enough of the API to bring a site up."""

import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from . import network
from .member import Member
from .record import LabError, progress

ENDPOINT = f"https://{network.MANAGER_ADDRESS}:7400"


def yaml(value, depth=0):
    """Nested dictionaries of plain values as YAML."""
    lines = []
    for key, content in value.items():
        if isinstance(content, dict):
            lines.append("  " * depth + f"{key}:")
            lines.append(yaml(content, depth + 1))
        elif isinstance(content, list):
            lines.append("  " * depth + f"{key}: [{', '.join(json.dumps(item) for item in content)}]")
        else:
            lines.append("  " * depth + f"{key}: {json.dumps(content)}")
    return "\n".join(lines)


def settings(pairs):
    """`["agents.heartbeat_interval_ms=500"]` as nested dictionaries."""
    result = {}
    for pair in pairs:
        path, separator, text = pair.partition("=")
        if not separator:
            raise LabError(f"setting '{pair}' is not key=value")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        *parents, last = path.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return result


def merged(base, extra):
    result = dict(base)
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


class Site:
    """The site that runs in a lab."""

    def __init__(self, record):
        self.record = record
        self.manager = Member(record, "manager")

    @property
    def binaries(self):
        return Path(self.record.load()["binaries"])

    def program(self, name):
        path = self.binaries / name
        if not path.exists():
            raise LabError(f"{path} is missing; run: swift build, or name the folder with --bin")
        return str(path)

    # Manager

    @property
    def data(self):
        return self.manager.folder / "data"

    def configure_manager(self):
        address = network.MANAGER_ADDRESS
        content = {
            "data": str(self.data),
            "api": {"host": address, "port": 7400, "names": [address, "manager", "localhost"]},
            "agents": {"host": address, "port": 7401},
            "chunks": {"host": address, "port": 7402},
            "log": {"level": "info"},
        }
        content = merged(content, self.record.load()["manager_settings"])
        (self.manager.folder / "manager.yaml").write_text(yaml(content) + "\n")

    def init_manager(self):
        self.configure_manager()
        self.manager.run(self.program("roost-manager"), "init", "--data", str(self.data),
                         "--config", str(self.manager.folder / "manager.yaml"))

    def start_manager(self, wait=True):
        self.manager.start("manager", [self.program("roost-manager"), "run",
                                       "--config", str(self.manager.folder / "manager.yaml")])
        if wait:
            self.wait_for_manager()

    def wait_for_manager(self, seconds=30):
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self.call("GET", "/readyz", token=None)[0] == 200:
                    return
            except OSError:
                pass
            if not self.manager.is_running("manager") or time.monotonic() > deadline:
                raise LabError(f"the manager does not answer; see {self.manager.log('manager')}")
            time.sleep(0.05)

    def authority(self):
        """The site's CA certificate, which clients must trust."""
        for path in ("ca.pem", "ca/ca.pem", "ca.crt", "ca/ca.crt", "pki/ca.pem", "ca/certificate.pem",
                     "ca-certificate.pem"):
            if (self.data / path).exists():
                return self.data / path
        for path in sorted(self.data.rglob("*")):
            if path.suffix in (".pem", ".crt") and "ca" in path.stem and "key" not in path.stem:
                return path
        raise LabError(f"no CA certificate under {self.data}; did roost-manager init succeed?")

    # Agents

    def configure_agent(self, host):
        content = host.content
        values = {
            "data": str(host.folder / "agent-data"),
            "manager": {"address": f"{network.MANAGER_ADDRESS}:7401"},
            "node": {"name": host.name},
            "hypervisor": {"uri": "qemu:///system", "accelerator": "tcg"},
            "chunks": {"host": content["address"], "port": 7402, "advertise": f"{content['address']}:7402"},
            "network": {"subnet": content["guest_subnet"], "name": "roost"},
            "log": {"level": "info"},
        }
        values = merged(values, self.record.load()["agent_settings"])
        (host.folder / "agent.yaml").write_text(yaml(values) + "\n")

    def join_agent(self, host, token):
        self.configure_agent(host)
        host.run(self.program("roost-agent"), "join", "--config", str(host.folder / "agent.yaml"),
                 "--manager", f"{network.MANAGER_ADDRESS}:7401", "--token", token["token"],
                 "--ca-fingerprint", token["ca_fingerprint"])

    def start_agent(self, host):
        host.start("agent", [self.program("roost-agent"), "run", "--config", str(host.folder / "agent.yaml")])

    def hosts(self):
        return [Member(self.record, name) for name in self.record.load()["members"] if name != "manager"]

    def wait_for_nodes(self, names, seconds=60):
        deadline = time.monotonic() + seconds
        while True:
            status, body, _ = self.call("GET", "/v1/nodes")
            alive = {node["name"] for node in body["items"] if node["alive"] == "alive"} if status == 200 else set()
            if alive >= set(names):
                return
            if time.monotonic() > deadline:
                raise LabError(f"nodes not alive after {seconds} s: {', '.join(sorted(set(names) - alive))}")
            time.sleep(0.2)

    # API

    def context(self):
        return ssl.create_default_context(cafile=str(self.authority()))

    def password(self):
        return (self.data / "admin-password").read_text().strip()

    def token(self, user="admin", password=None):
        """A fresh access token; good for 15 minutes."""
        form = urllib.parse.urlencode(
            {"grant_type": "password", "username": user, "password": password or self.password()})
        status, body, _ = self.call("POST", "/oauth/token", form.encode(), token=None,
                                    content_type="application/x-www-form-urlencoded")
        if status != 200:
            raise LabError(f"no token for {user}: {status} {body}")
        return body["access_token"]

    def call(self, method, path, body=None, token="", content_type="application/json", headers=None, timeout=60):
        """One request: status, decoded body, headers. An empty token means a fresh one of the administrator."""
        if token == "":
            token = self.token()
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        request = urllib.request.Request(ENDPOINT + path, data=body, method=method, headers=headers or {})
        if body is not None:
            request.add_header("Content-Type", content_type)
        if token:
            request.add_header("Authorization", "Bearer " + token)
        # A proxy of the machine's has no way into the lab.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.context()))
        try:
            with opener.open(request, timeout=timeout) as response:
                return response.status, decoded(response), response.headers
        except urllib.error.HTTPError as problem:
            return problem.code, decoded(problem), problem.headers

    def environment(self):
        return {"ROOST_ENDPOINT": ENDPOINT, "ROOST_CACERT": str(self.authority()), "ROOST_TOKEN": self.token()}

    def bring_up(self, hosts):
        """From empty data folders to a site whose nodes are all alive."""
        self.init_manager()
        self.start_manager()
        progress("manager answers")
        token = self.token()
        for host in hosts:
            status, body, _ = self.call("POST", "/v1/nodes/tokens", {"node_name": host.name}, token=token)
            if status != 201:
                raise LabError(f"no join token: {status} {body}")
            self.join_agent(host, body)
            self.start_agent(host)
        self.wait_for_nodes([host.name for host in hosts])
        progress(f"{len(hosts)} nodes alive")


def decoded(response):
    content = response.read()
    if "json" in (response.headers.get("Content-Type") or ""):
        return json.loads(content or b"null")
    return content.decode(errors="replace")
