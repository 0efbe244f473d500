"""Abuse leaves nothing behind (SEC-15): after rounds of refused, broken and abandoned requests a manager holds as many descriptors
and threads as before, hardly more memory, and as many rows."""

import http.client
import json
import os
import socket
import ssl
from pathlib import Path

from clientkit.site import LOOPBACK, SiteTest, wait

ROUNDS = 6
REQUESTS = 300
# A round that kept one kilobyte of each request would come to more than this over all rounds.
MEMORY = 12 << 20


class Growth(SiteTest):
    def setUp(self):
        self.context = ssl.create_default_context(cafile=str(self.site.authority))
        self.user = self.site.add_user("greedy")
        self.site.add_flavor("small")
        self.site.add_image("disk")
        self.site.call("PATCH", "/v1/users/greedy/quota", {"limits": {"instances": 0, "images": 0}})

    def connection(self):
        return http.client.HTTPSConnection(LOOPBACK, self.site.manager.api, context=self.context, timeout=30)

    def on_one_connection(self, requests):
        """Sends each of (method, path, body, headers) and counts the statuses."""
        statuses = {}
        connection = self.connection()
        for method, path, body, headers in requests:
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                response.read()
                statuses[response.status] = statuses.get(response.status, 0) + 1
                if response.getheader("Connection") == "close":
                    connection.close()
            except (OSError, http.client.HTTPException):
                connection.close()
        connection.close()
        return statuses

    def refused(self, number):
        """What a limit refuses, each with a key of its own."""
        token, kind = {"Authorization": f"Bearer {self.user}"}, {"Content-Type": "application/json"}
        for index in range(REQUESTS // 2):
            key = {"Idempotency-Key": f"growth-{number}-{index}"}
            yield "POST", "/v1/instances", json.dumps({"name": f"i{index}", "flavor": "small", "image": "disk"}), {**token, **kind, **key}
            yield "POST", "/v1/images", json.dumps({"name": f"i{index}", "format": "raw"}), {**token, **kind, **key}

    def broken(self):
        token, kind = {"Authorization": f"Bearer {self.user}"}, {"Content-Type": "application/json"}
        for index in range(REQUESTS // 4):
            yield "GET", "/v1/instances", None, {"Authorization": f"Bearer {'x' * 2000}{index}"}
            yield "POST", "/v1/instances", '{"name": "' + "x" * 10_000, {**token, **kind}
            yield "POST", "/v1/instances", "[" * 5000, {**token, **kind}
            yield "GET", f"/nothing/{index}?{'y' * 3000}", None, token

    def abandoned(self):
        """Connections that end in the middle of each part of a request."""
        address = (LOOPBACK, self.site.manager.api)
        for index in range(REQUESTS // 10):
            with socket.create_connection(address, timeout=10) as plain:
                plain.sendall([b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"][index % 3])
            for part in (b"", b"GET /v1/inst", b"GET /v1/instances HTTP/1.1\r\nHost: x\r\nX: ",
                         b"POST /v1/instances HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + self.user.encode()
                         + b"\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"):
                with self.context.wrap_socket(socket.create_connection(address, timeout=10), server_hostname=LOOPBACK) as secure:
                    secure.sendall(part)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.site.manager.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.site.manager.pid}/task"))

    def rows(self):
        return {path: len(self.site.manager.pages(path)) for path in ("/v1/instances", "/v1/images", "/v1/operations")}

    def abuse(self, number):
        statuses = self.on_one_connection(self.refused(number))
        self.assertEqual(set(statuses) - {403, 429}, set(), statuses)
        self.assertGreater(statuses.get(403, 0), 0)
        statuses = self.on_one_connection(self.broken())
        self.assertTrue(all(400 <= status < 500 for status in statuses), statuses)
        self.abandoned()

    def test_level(self):
        """SEC-15: descriptors, threads, memory and rows stay level under abuse."""
        rows = self.rows()
        # What is made once and kept: pools, caches, prepared statements.
        self.abuse(0)
        self.abuse(1)
        begun = self.descriptors()
        memory, threads = self.site.manager.resident(), self.threads()
        for number in range(2, 2 + ROUNDS):
            self.abuse(number)
        wait("descriptors are as before", lambda: self.descriptors() <= begun + 2, 30)
        grown = self.site.manager.resident() - memory
        print(f"  {self.descriptors()} descriptors ({begun} before), {self.threads()} threads ({threads}), {grown >> 10} KiB more")
        self.assertLess(grown, MEMORY)
        self.assertLessEqual(self.threads(), threads + 2)
        self.assertEqual(self.rows(), rows)
        self.assertTrue(Path(f"/proc/{self.site.manager.pid}").exists())
