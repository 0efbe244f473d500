"""The lab as chaos sees it: what should run where, how it is started again, and what the database really holds."""

from labkit.galera import is_synced
from labkit.record import LabError
from labkit.site import Site


class ChaosLab:
    def __init__(self, record):
        self.record = record
        self.site = Site(record)

    def controllers(self):
        return self.site.managers

    def hosts(self):
        return self.site.hosts()

    def databases(self):
        return self.site.databases()

    def is_cluster_whole(self):
        """Whether every database node has all. One that catches up counts for nothing where the quorum is concerned."""
        nodes = self.databases()
        return all(is_synced(node.status(), len(nodes)) for node in nodes)

    def supervised(self):
        """Every (member, program) that a service manager would keep running, in the order of its start."""
        for node in self.databases():
            yield node.member, "mariadb"
        for member in self.controllers():
            yield member, "manager"
        for host in self.hosts():
            yield host, "virtlogd"
            yield host, "libvirtd"
            yield host, "agent"

    def start(self, member, role):
        if role == "mariadb":
            self.site.database(member).start()
        elif role == "manager":
            self.site.start_manager(member, wait=False)
        elif role == "virtlogd":
            member.start_virtlogd()
        elif role == "libvirtd":
            member.start_libvirtd()
        else:
            self.site.start_agent(member)

    def power_on(self, member):
        if not member.is_running("holder"):
            member.power_on()

    def leader(self):
        """The manager that leads now, as the managers themselves say; None while nobody does."""
        try:
            status, body, _ = self.site.call("GET", "/v1/managers", timeout=3)
        except (OSError, LabError):
            return None
        names = {one["name"] for one in body["items"] if one["role"] == "leader" and one["status"] != "silent"} if status == 200 else set()
        return next((one for one in self.controllers() if one.name in names), None)

    def database_disk(self, member):
        return member.folder / "mariadb"

    def manager_disk(self, member):
        return member.folder / "data"

    def agent_disk(self, host):
        return host.folder / "agent-data"

    # Straight from the engines, past Roost

    def query(self, statement, *columns):
        problem = None
        for node in self.databases():
            try:
                text = node.sql(f"USE roost; {statement}", timeout=30)
            except Exception as error:  # One node is enough.
                problem = error
                continue
            return [dict(zip(columns, line.split("\t"))) for line in text.splitlines()]
        raise LabError(f"no database node answers: {problem}")

    def table(self, name, *columns):
        return self.query(f"SELECT {', '.join(columns)} FROM {name}", *columns)

    def domains(self, host):
        listed = host.run("virsh", "-c", "qemu:///system", "-q", "list", "--uuid")
        return set(listed.stdout.split())
