"""One node of a Galera cluster on a member: a real MariaDB server with its own data folder, replicating to the others."""

import re
import time
from pathlib import Path

from .record import LabError

PROVIDER = "/usr/lib/galera/libgalera_smm.so"
PACKAGING = Path(__file__).resolve().parents[3] / "packaging" / "mariadb"
DATABASE = "roost"
PASSWORD = "lab-database"

SETTINGS = """\
[mariadbd]
user = root
datadir = {folder}/data
# Its own: a server that starts removes all temporary tables in the folder, another's too.
tmpdir = {folder}/tmp
socket = {folder}/mysqld.sock
pid-file = {folder}/mysqld.pid
log-error = {log}
bind-address = {address}
port = 3306
skip-name-resolve
skip-log-bin
max-connections = 200
# Durable: a commit that was acknowledged is on the disk of this node.
innodb-flush-log-at-trx-commit = 1
innodb-buffer-pool-size = 64M
innodb-log-file-size = 64M
innodb-autoinc-lock-mode = 2
binlog-format = ROW
performance-schema = OFF
wsrep-on = ON
wsrep-provider = {provider}
wsrep-cluster-name = lab
wsrep-cluster-address = gcomm://{peers}
wsrep-node-name = {name}
wsrep-node-address = {address}
wsrep-sst-method = mariabackup
wsrep-sst-auth = root:
wsrep-notify-cmd = {packaging}/roost-mariadb-notify
# Five seconds without a word, and the others go on without a node.
wsrep-provider-options = "gcache.size=64M;evs.suspect_timeout=PT3S;evs.inactive_timeout=PT6S;evs.install_timeout=PT6S;pc.recovery=TRUE"
"""


class GaleraNode:
    def __init__(self, member, peers):
        """`peers`: the addresses of all nodes, this one among them."""
        self.member = member
        self.address = member.content["address"]
        self.peers = peers
        self.folder = member.folder / "mariadb"

    @property
    def settings(self):
        return self.folder / "my.cnf"

    def install(self):
        """An empty data folder, and a configuration."""
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        self.settings.write_text(SETTINGS.format(
            folder=self.folder, log=self.member.log("mariadb"), address=self.address, peers=",".join(self.peers),
            name=self.member.name, provider=PROVIDER, packaging=PACKAGING))
        self.member.run("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={self.folder}/data",
                        "--auth-root-authentication-method=normal", "--skip-test-db", timeout=120)

    def start(self, new_cluster=False):
        # A state transfer that outlived its server would hold up the next. A service manager ends the whole control group.
        self.member.run("pkill", "-KILL", "-x", "wsrep_sst_.*|socat|mbstream|mariadb-backup", check=False)
        # As the drop-in for MariaDB's service does that packaging/mariadb holds.
        self.member.run(str(PACKAGING / "roost-mariadb-prepare"), str(self.folder / "data"))
        arguments = ["--wsrep-new-cluster"] if new_cluster else self.recovered_position()
        self.member.start("mariadb", ["mariadbd", f"--defaults-file={self.settings}", *arguments])

    def recovered_position(self):
        """How far the data folder is, after a crash too: as Debian's service finds it out before each start. A node that
        did not know it would ask for the whole database, and after a power cut of all there would be nobody to give it."""
        log = self.folder / "recovery.log"
        log.unlink(missing_ok=True)
        self.member.run("mariadbd", f"--defaults-file={self.settings}", "--wsrep-recover", f"--log-error={log}",
                        check=False, timeout=120)
        found = re.findall(r"WSREP: Recovered position:\s*([0-9a-f-]{36}:-?\d+)", log.read_text() if log.exists() else "")
        return [f"--wsrep-start-position={found[-1]}"] if found else []

    def sql(self, statement, check=True, timeout=10):
        """One statement over the node's socket, as root; its output."""
        result = self.member.run("mariadb", "--no-defaults", f"--socket={self.folder}/mysqld.sock", "--batch",
                                 "--skip-column-names", "-e", statement, check=check, timeout=timeout)
        return result.stdout.strip()

    def status(self):
        """The wsrep values by name; empty where the server does not answer."""
        try:
            text = self.sql("SHOW GLOBAL STATUS LIKE 'wsrep%'", check=False)
        except Exception:
            return {}
        return dict(line.split("\t", 1) for line in text.splitlines() if "\t" in line)

    def wait_until_synced(self, size=None, seconds=120, is_supervised=False):
        """`is_supervised`: somebody starts the server again if it ends."""
        deadline = time.monotonic() + seconds
        while True:
            status = self.status()
            if is_synced(status, size):
                return
            if not is_supervised and not self.member.is_running("mariadb"):
                raise LabError(f"MariaDB on {self.member.name} ended; see {self.member.log('mariadb')}")
            if time.monotonic() > deadline:
                raise LabError(f"MariaDB on {self.member.name} is not synced: {status}")
            time.sleep(0.2)


def is_synced(status, size=None):
    """Whether a node's wsrep values are those of one that has all, in a cluster of `size`."""
    return (status.get("wsrep_local_state_comment") == "Synced" and status.get("wsrep_ready") == "ON"
            and status.get("wsrep_cluster_status") == "Primary"
            and (size is None or status.get("wsrep_cluster_size") == str(size)))


def bring_up(nodes):
    """From empty folders to a cluster in which everybody is synced, with an empty database for the site."""
    for node in nodes:
        node.install()
    nodes[0].start(new_cluster=True)
    nodes[0].wait_until_synced(size=1)
    nodes[0].sql(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
    nodes[0].sql(f"CREATE USER 'roost'@'%' IDENTIFIED BY '{PASSWORD}'")
    nodes[0].sql(f"GRANT ALL ON {DATABASE}.* TO 'roost'@'%'")
    for number, node in enumerate(nodes[1:], start=2):
        node.start()
        node.wait_until_synced(size=number)
