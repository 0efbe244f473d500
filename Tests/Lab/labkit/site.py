"""Roost in the lab: configuration files, the manager, the agents, and enough of the API to bring a site up."""

import json
import shutil
import ssl
import time
from pathlib import Path

from . import galera, network
from .api import FORM, exchange
from .member import Member
from .record import LabError, progress

REPOSITORY = Path(__file__).resolve().parents[3]
# What all managers of a site share (docs/SEVERAL-MANAGERS.md).
SHARED_FILES = ("ca.pem", "ca-key.pem", "request-secret", "token-key.pem")


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
        members = record.load()["members"]
        self.managers = [Member(record, name) for name in members if name.startswith("manager")]
        self.manager = self.managers[0]
        # Users and agents see one address, whichever manager answers.
        self.address = network.PROXY_ADDRESS if "proxy" in members else network.MANAGER_ADDRESS
        self.endpoint = f"https://{self.address}:7400"

    def databases(self):
        """The nodes of the Galera cluster, one with each manager; none where the one manager keeps its own store."""
        peers = [one.content["address"] for one in self.managers]
        return [galera.GaleraNode(one, peers) for one in self.managers] if len(peers) > 1 else []

    def database(self, member):
        return next(node for node in self.databases() if node.member.name == member.name)

    @property
    def binaries(self):
        return Path(self.record.load()["binaries"])

    def program(self, name):
        path = self.binaries / name
        if not path.exists():
            raise LabError(f"{path} is missing; run: swift build, or name the folder with --bin")
        return str(path)

    # Managers

    @property
    def data(self):
        """The first manager's data folder: what a client or a further manager needs is taken from there."""
        return self.manager.folder / "data"

    def configuration(self, member):
        return member.folder / "manager.yaml"

    def configure_manager(self, member):
        address = member.content["address"]
        content = {
            "data": str(member.folder / "data"),
            "api": {"host": address, "port": 7400, "names": [self.address, address, member.name, "localhost"]},
            "agents": {"host": address, "port": 7401},
            "chunks": {"host": address, "port": 7402},
            "log": {"level": "info"},
        }
        if len(self.managers) > 1:
            secret = member.folder / "store-password"
            secret.write_text(galera.PASSWORD + "\n")
            secret.chmod(0o600)
            hosts = ",".join(node.address for node in self.databases())
            content["manager"] = {"name": member.name}
            content["store"] = {"url": f"mariadb://roost@{hosts}/{galera.DATABASE}?tls=off", "password_file": str(secret)}
            for part, port in (("api", 7400), ("agents", 7401), ("chunks", 7402)):
                content[part]["advertise"] = f"{address}:{port}"
        content = merged(content, self.record.load()["manager_settings"])
        self.configuration(member).write_text(yaml(content) + "\n")

    def init_managers(self):
        """The first makes the site; each further one begins with copies of the files that say which site it is."""
        for member in self.managers:
            self.configure_manager(member)
            source = []
            if member is not self.manager:
                copies = member.folder / "from"
                copies.mkdir(exist_ok=True)
                for name in SHARED_FILES:
                    shutil.copy(self.data / name, copies / name)
                source = ["--from", str(copies)]
            member.run(self.program("roost-manager"), "init", "--data", str(member.folder / "data"),
                       "--config", str(self.configuration(member)), *source)

    def start_manager(self, member=None, wait=True):
        member = member or self.manager
        member.start("manager", [self.program("roost-manager"), "run", "--config", str(self.configuration(member))])
        if wait:
            self.wait_for_manager(member)

    def wait_for_manager(self, member=None, seconds=30):
        member = member or self.manager
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self.call("GET", "/readyz", token=None, endpoint=f"https://{member.content['address']}:7400")[0] == 200:
                    return
            except OSError:
                pass
            if not member.is_running("manager") or time.monotonic() > deadline:
                raise LabError(f"the manager does not answer; see {member.log('manager')}")
            time.sleep(0.05)

    def start_proxy(self):
        """HAProxy with the configuration that sites are given; only the addresses and the authority's place are the lab's."""
        proxy = Member(self.record, "proxy")
        text = (REPOSITORY / "packaging/haproxy/haproxy.cfg").read_text()
        for number, member in enumerate(self.managers, start=1):
            text = text.replace(f"192.0.2.1{number}:", f"{member.content['address']}:")
        text = text.replace("/etc/haproxy/roost-ca.pem", str(self.authority()))
        # As many as a process of this machine may have files open for.
        text = text.replace("maxconn 60000", "maxconn 2000")
        (proxy.folder / "haproxy.cfg").write_text(text)
        proxy.start("proxy", ["haproxy", "-W", "-db", "-f", str(proxy.folder / "haproxy.cfg")])
        deadline = time.monotonic() + 20
        while True:
            try:
                if self.call("GET", "/readyz?role=leader", token=None)[0] in (200, 503):
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise LabError(f"nobody answers behind the proxy; see {proxy.log('proxy')}")
            time.sleep(0.1)

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
            "manager": {"address": f"{self.address}:7401"},
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
                 "--manager", f"{self.address}:7401", "--token", token["token"],
                 "--ca-fingerprint", token["ca_fingerprint"])

    def start_agent(self, host):
        host.start("agent", [self.program("roost-agent"), "run", "--config", str(host.folder / "agent.yaml")])

    def hosts(self):
        return [Member(self.record, name) for name in self.record.load()["members"] if name.startswith("host")]

    def wait_for_nodes(self, names, seconds=60):
        deadline = time.monotonic() + seconds
        while True:
            alive = self.alive_nodes()
            if alive >= set(names):
                return
            if time.monotonic() > deadline:
                raise LabError(f"nodes not alive after {seconds} s: {', '.join(sorted(set(names) - alive))}")
            time.sleep(0.2)

    def alive_nodes(self):
        """Their names; none while nobody answers."""
        try:
            status, body, _ = self.call("GET", "/v1/nodes")
        except (OSError, LabError):
            return set()
        return {node["name"] for node in body["items"] if node["alive"] == "alive"} if status == 200 else set()

    # API

    def context(self):
        return ssl.create_default_context(cafile=str(self.authority()))

    def password(self):
        return (self.data / "admin-password").read_text().strip()

    def token(self, user="admin", password=None):
        """A fresh access token; good for 15 minutes."""
        form = {"grant_type": "password", "username": user, "password": password or self.password()}
        status, body, _ = self.call("POST", "/oauth/token", form, token=None, content_type=FORM)
        if status != 200:
            raise LabError(f"no token for {user}: {status} {body}")
        return body["access_token"]

    def call(self, method, path, body=None, token="", content_type="application/json", headers=None, timeout=60,
             endpoint=None):
        """One request: status, decoded body, headers. An empty token means a fresh one of the administrator."""
        if token == "":
            token = self.token()
        return exchange((endpoint or self.endpoint) + path, method, self.context(), body, content_type, token, headers, timeout)

    def environment(self):
        return {"ROOST_ENDPOINT": self.endpoint, "ROOST_CACERT": str(self.authority()), "ROOST_TOKEN": self.token()}

    def bring_up(self, hosts):
        """From empty data folders to a site whose nodes are all alive."""
        self.init_managers()
        for member in self.managers:
            self.start_manager(member)
        if len(self.managers) > 1:
            self.start_proxy()
        progress("manager answers" if len(self.managers) == 1 else f"{len(self.managers)} managers answer")
        token = self.token()
        for host in hosts:
            status, body, _ = self.call("POST", "/v1/nodes/tokens", {"node_name": host.name}, token=token)
            if status != 201:
                raise LabError(f"no join token: {status} {body}")
            self.join_agent(host, body)
            self.start_agent(host)
        self.wait_for_nodes([host.name for host in hosts])
        progress(f"{len(hosts)} nodes alive")
