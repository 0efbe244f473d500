"""A MariaDB server of a benchmark's own, durable, with its files beside the manager's."""

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from .programs import BenchmarkError
from .site import LOOPBACK, Program, free_ports

NAME = "roost"
USER = "roost"
# On Debian the server is not in everybody's path.
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Database:
    """Used with `with`; ends with the block, and takes its files with it."""

    def __init__(self):
        self.home = Path(tempfile.mkdtemp(prefix="roost-benchmark-", dir="/var/tmp"))
        (self.port,) = free_ports(1)
        self.secret = self.home / "password"
        self.program = None
        self._user = ["--user=root"] if os.geteuid() == 0 else []

    def __enter__(self):
        try:
            self._run(["mariadb-install-db", "--no-defaults", *self._user, f"--datadir={self.home}/data",
                       "--auth-root-authentication-method=normal", "--skip-test-db"])
            self.program = Program(
                ["mariadbd", "--no-defaults", *self._user, f"--datadir={self.home}/data", f"--tmpdir={self.home}",
                 f"--socket={self.socket}", f"--pid-file={self.home}/pid", f"--bind-address={LOOPBACK}", f"--port={self.port}", "--skip-name-resolve",
                 # A commit that was answered is on the disk, as in every server that a site should use.
                 "--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=512M", "--innodb-log-file-size=512M"],
                self.home / "mariadb.log", env={**os.environ, "PATH": PATH})
            deadline = time.monotonic() + 60
            while not self._answers():
                self.program.check()
                if time.monotonic() > deadline:
                    raise BenchmarkError("MariaDB does not answer")
                time.sleep(0.1)
            password = secrets.token_hex(16)
            self.secret.write_text(password + "\n")
            self.secret.chmod(0o600)
            self.ask(f"CREATE DATABASE {NAME}; CREATE USER {USER}@'%' IDENTIFIED BY '{password}';"
                     f" GRANT ALL ON {NAME}.* TO {USER}@'%'")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.program:
            self.program.stop(60)
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def socket(self):
        return self.home / "socket"

    @property
    def settings(self):
        """What the manager's settings say of it."""
        return {"store": {"url": f"mariadb://{USER}@{LOOPBACK}:{self.port}/{NAME}?tls=off", "password_file": str(self.secret)}}

    def ask(self, sql):
        return self._run(["mariadb", "--no-defaults", "-u", "root", f"--socket={self.socket}", "--batch",
                          "--skip-column-names", "-e", sql])

    def bare_commits(self, seconds=5):
        """Durable single-row commits a second, one by one, in a loop inside the server: no client, no network."""
        answer = self.ask(f"""
            CREATE DATABASE bare; USE bare;
            CREATE TABLE instances (id BIGINT PRIMARY KEY AUTO_INCREMENT, content TEXT NOT NULL) ENGINE = InnoDB;
            DELIMITER //
            BEGIN NOT ATOMIC
                DECLARE began DOUBLE DEFAULT UNIX_TIMESTAMP(SYSDATE(6));
                DECLARE passed DOUBLE DEFAULT 0;
                DECLARE made BIGINT DEFAULT 0;
                WHILE passed < {seconds} DO
                    INSERT INTO instances (content) VALUES (REPEAT('x', 500));
                    SET made = made + 1, passed = UNIX_TIMESTAMP(SYSDATE(6)) - began;
                END WHILE;
                SELECT made / passed;
            END //
            DELIMITER ;
            DROP DATABASE bare;""")
        return float(answer)

    def _answers(self):
        return subprocess.run(
            ["mariadb-admin", "--no-defaults", "-u", "root", f"--socket={self.socket}", "ping"], capture_output=True,
            stdin=subprocess.DEVNULL).returncode == 0

    @staticmethod
    def _run(command):
        result = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, "PATH": PATH})
        if result.returncode != 0:
            raise BenchmarkError(f"{command[0]}: {(result.stderr or result.stdout).strip()[-1000:]}")
        return result.stdout.strip()
