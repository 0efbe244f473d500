"""What hostile clients send: the manager answers with the right error, stays small, and serves others meanwhile (P10)."""

import json
import socket
import ssl
import threading
import time
import unittest

from clientkit.site import LOOPBACK, SiteTest

MIB = 1 << 20
# What a manager may gain while it refuses all of this. It is not the 80 MB of an idle one: a debug build keeps more.
MEMORY_BOUND = 96 * MIB


class Wire:
    """A TLS connection on which anything can be written."""

    def __init__(self, site, timeout=30):
        self.socket = site.manager.context().wrap_socket(
            socket.create_connection((LOOPBACK, site.manager.api), timeout), server_hostname=LOOPBACK)
        self.socket.settimeout(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def receive(self, idle):
        while True:
            try:
                return self.socket.recv(65536)
            except TimeoutError:
                if idle is None:
                    raise
                idle()

    def answer(self, idle=None):
        """Status, headers and body of one answer; status 0 where the connection ends without one.

        `idle` is called each time nothing came for as long as the socket waits; without it, that is the end."""
        data = b""
        try:
            while b"\r\n\r\n" not in data:
                part = self.receive(idle)
                if not part:
                    return 0, {}, data
                data += part
            head, body = data.split(b"\r\n\r\n", 1)
            lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            while len(body) < int(headers.get("content-length", 0)):
                part = self.receive(idle)
                if not part:
                    break
                body += part
            return int(lines[0].split()[1]), headers, body
        except (ConnectionError, ssl.SSLError, TimeoutError):
            return 0, {}, data

    def ask(self, text):
        try:
            self.send(text)
        except (ConnectionError, ssl.SSLError):
            pass
        return self.answer()


class Hostile(SiteTest):
    # Nobody is counted here: what is tried is what one who may send a lot can do.
    settings = {"api": {"rate_limit_requests": 0}, "log": {"level": "info"}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.user = cls.site.add_user("mallory")
        # Threads, buffers and statements are there before memory is looked at.
        for _ in range(50):
            cls.site.call("GET", "/v1/instances")
        cls.before = cls.site.manager.resident()

    def tearDown(self):
        self.assertEqual(self.site.request("GET", "/healthz")[0], 200)
        grown = self.site.manager.resident() - self.before
        self.assertLess(grown, MEMORY_BOUND, f"the manager grew by {grown / MIB:.0f} MiB")

    def head(self, line, *more):
        return "\r\n".join([line, f"Host: {LOOPBACK}", f"Authorization: Bearer {self.user}", *more, "", ""])

    def problem(self, body):
        document = json.loads(body)
        self.assertTrue(document["type"].startswith("urn:roost:problem:"), document)
        self.assertGreater(len(document["detail"]), 15)
        return document["code"]

    # Bodies

    def test_body_of_gigabytes(self):
        with Wire(self.site, 60) as wire:
            wire.send(self.head("POST /v1/keypairs HTTP/1.1", "Content-Type: application/json", f"Content-Length: {8 << 30}"))
            sent = 0
            try:
                while sent < 8 << 30:
                    wire.send(b"x" * MIB)
                    sent += MIB
            except (ConnectionError, ssl.SSLError, TimeoutError):
                pass
            # Told at once, and ended within the second that the good-bye of TLS may take.
            self.assertLess(sent, 4 << 30)

    def test_body_too_large_is_told(self):
        with Wire(self.site) as wire:
            body = b'{"name": "' + b"x" * (2 * MIB) + b'"}'
            wire.send(self.head("POST /v1/keypairs HTTP/1.1", "Content-Type: application/json", f"Content-Length: {len(body)}"))
            wire.send(body)
            status, _, answer = wire.answer()
            self.assertEqual((status, self.problem(answer)), (413, "body_too_large"))

    def test_endless_chunks(self):
        with Wire(self.site, 60) as wire:
            wire.send(self.head("POST /v1/keypairs HTTP/1.1", "Content-Type: application/json", "Transfer-Encoding: chunked"))
            sent = 0
            try:
                while sent < 8 << 30:
                    wire.send(b"100000\r\n" + b"x" * MIB + b"\r\n")
                    sent += MIB
            except (ConnectionError, ssl.SSLError, TimeoutError):
                pass
            self.assertLess(sent, 4 << 30)

    def test_many_large_bodies_at_once(self):
        def one():
            with Wire(self.site, 60) as wire:
                body = b"[" + b"0," * (500 * 1024) + b"0]"
                wire.send(self.head("POST /v1/keypairs HTTP/1.1", "Content-Type: application/json", f"Content-Length: {len(body)}"))
                wire.send(body)
                statuses.append(wire.answer()[0])

        statuses = []
        threads = [threading.Thread(target=one) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(set(statuses), {400})

    def test_deep_json(self):
        for text in ["[" * 100_000, '{"a":' * 100_000, "[" * 40 + "]" * 40, '{"name":' + "[" * 500_000]:
            status, answer = self.site.request("POST", "/v1/keypairs", text.encode(), "application/json", self.user)
            self.assertEqual((status, answer["code"]), (400, "invalid_request"))
            self.assertIn("deep", answer["detail"])

    def test_huge_lists(self):
        cases = [
            ("/v1/keypairs", {"name": "x", "public_key": ["a"] * 90_000}),
            ("/v1/instances", {"name": "x", "flavor": "f", "image": "i", "metadata": {str(n): "v" for n in range(30_000)}}),
            ("/v1/keypairs", {f"member{n}": n for n in range(40_000)}),
        ]
        for path, body in cases:
            status, answer = self.site.request("POST", path, body, token=self.user)
            self.assertEqual((status, answer["code"]), (400, "invalid_request"))
            self.assertLess(len(json.dumps(answer)), 20_000)

    def test_not_json(self):
        for body in [b"", b"{", b"nul", b'{"a": 1, "a": 2}', b'"\xff"', b"\x00", b'{"name": NaN}', b"[1,]", b'"\\ud800"', b"1" * 5000,
                     b"{}{}", b"\xef\xbb\xbf{}"]:
            status, answer = self.site.request("POST", "/v1/keypairs", body, "application/json", self.user)
            self.assertEqual((status, answer["code"]), (400, "invalid_request"), body)

    # Heads

    def test_smuggling(self):
        """Two readers must never disagree on where a request ends (RFC 9112 §6)."""
        get = self.head("GET /healthz HTTP/1.1")
        cases = {
            "both lengths": self.head("POST /v1/keypairs HTTP/1.1", "Content-Length: 4", "Transfer-Encoding: chunked") + "0\r\n\r\n" + get,
            "two lengths": self.head("POST /v1/keypairs HTTP/1.1", "Content-Length: 0", f"Content-Length: {len(get)}") + get,
            "chunked not last": self.head("POST /v1/keypairs HTTP/1.1", "Transfer-Encoding: chunked, identity") + "0\r\n\r\n" + get,
            "obscured coding": self.head("POST /v1/keypairs HTTP/1.1", "Transfer-Encoding: xchunked", "Content-Length: 3") + "abc" + get,
            "space before colon": self.head("POST /v1/keypairs HTTP/1.1", f"Content-Length : {len(get)}") + get,
            "folded": self.head("GET /healthz HTTP/1.1", "X-Folded: a", " Content-Length: 5"),
            "negative": self.head("POST /v1/keypairs HTTP/1.1", "Content-Length: -1") + get,
            "signed": self.head("POST /v1/keypairs HTTP/1.1", "Content-Length: +5") + "abcde" + get,
            "hexadecimal": self.head("POST /v1/keypairs HTTP/1.1", "Content-Length: 0x5") + "abcde" + get,
            "bad chunk": self.head("POST /v1/keypairs HTTP/1.1", "Transfer-Encoding: chunked") + "zz\r\nabc\r\n0\r\n\r\n" + get,
            "NUL in a header": self.head("GET /healthz HTTP/1.1", "X-Bad: a\0b"),
            "bare CR": self.head("GET /healthz HTTP/1.1", "X-Bad: a\rb"),
        }
        for name, text in cases.items():
            with self.subTest(name), Wire(self.site, 10) as wire:
                status, _, body = wire.ask(text)
                # Refused, or the connection ends; in no case is what follows taken for another request.
                self.assertIn(status, (0, 400, 411, 415, 501), f"{name}: {status} {body[:200]}")
                if status:
                    self.assertNotIn(b'"status":"ok"', body + wire.answer()[2], name)

    def test_large_heads(self):
        cases = {
            "one large header": self.head("GET /healthz HTTP/1.1", "X-Large: " + "x" * (64 * 1024)),
            "many headers": self.head("GET /healthz HTTP/1.1", *(f"X-{n}: v" for n in range(5000))),
            "long path": self.head("GET /" + "x" * (256 * 1024) + " HTTP/1.1"),
            "long query": self.head("GET /v1/instances?name=" + "x" * (256 * 1024) + " HTTP/1.1"),
        }
        for name, text in cases.items():
            with self.subTest(name), Wire(self.site, 10) as wire:
                status, _, _ = wire.ask(text)
                self.assertIn(status, (0, 400, 404, 414, 431), name)

    def test_paths(self):
        """No spelling of a path leads elsewhere than the plain one, and none to a file."""
        for path in ["/v1/../../etc/passwd", "/..%2f..%2fetc/passwd", "/v1/flavors/..", "/v1//flavors", "/v1/flavors/", "//v1/flavors",
                     "/v1/%66lavors%00", "/v1/flavors%2f..", "/v1/instances/%2e%2e/users", "/v1/users/%00", "/v1/users/a%0d%0aX-Bad:1",
                     "/v1/%c0%af", "/v1/users/%", "/v1/users/%zz", "/./v1/flavors", "/v1;a=b/flavors", "/V1/FLAVORS"]:
            with self.subTest(path), Wire(self.site, 10) as wire:
                status, headers, body = wire.ask(self.head(f"GET {path} HTTP/1.1"))
                self.assertIn(status, (400, 404), f"{path}: {status} {body[:200]}")
                self.assertNotIn("x-bad", headers)

    def test_other_targets(self):
        """SEC-16: nothing is fetched for the caller. The one address that a caller gives, an image's, goes by SEC-04's rules."""
        for line in ["CONNECT example.org:443 HTTP/1.1", "GET http://example.org/ HTTP/1.1", "OPTIONS * HTTP/1.1", "TRACE / HTTP/1.1",
                     "GET /healthz HTTP/2.0", "GET /healthz HTTP/0.9", "BREW /v1/flavors HTTP/1.1"]:
            with self.subTest(line), Wire(self.site, 10) as wire:
                status, _, body = wire.ask(self.head(line))
                self.assertIn(status, (0, 400, 404, 405, 501, 505), f"{line}: {status} {body[:200]}")

    # Time

    def test_slow_heads(self):
        """Many who send a byte now and then: others are served meanwhile, and those are ended."""
        wires = [Wire(self.site, 120) for _ in range(64)]
        try:
            for wire in wires:
                wire.send("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            began = time.monotonic()
            open_wires = list(wires)
            while open_wires and time.monotonic() - began < 100:
                self.assertEqual(self.site.request("GET", "/healthz")[0], 200)
                for wire in list(open_wires):
                    try:
                        wire.send("x")
                    except (ConnectionError, ssl.SSLError):
                        open_wires.remove(wire)
                time.sleep(1)
            self.assertEqual(open_wires, [], "slow connections were never ended")
        finally:
            for wire in wires:
                wire.socket.close()

    def test_slow_body(self):
        with Wire(self.site, 1) as wire:
            wire.send(self.head("POST /v1/keypairs HTTP/1.1", "Content-Type: application/json", "Content-Length: 100"))
            # By one thread: a TLS connection of Python's takes no writer beside a reader.
            status, _, body = wire.answer(idle=lambda: wire.send(b" "))
            self.assertEqual((status, self.problem(body)), (408, "request_timeout"))

    def test_reader_that_does_not_read(self):
        """One who asks for much and reads nothing holds neither memory nor others up."""
        wires = []
        try:
            for _ in range(8):
                wire = Wire(self.site, 10)
                wires.append(wire)
                wire.socket.settimeout(2)
                try:
                    for _ in range(2000):
                        wire.send("GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
                except (TimeoutError, ConnectionError, ssl.SSLError):
                    pass
            self.assertEqual(self.site.request("GET", "/healthz")[0], 200)
        finally:
            for wire in wires:
                wire.socket.close()

    # TLS

    def test_tls(self):
        def connects(least, most, ciphers=None):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(self.site.authority)
            context.minimum_version, context.maximum_version = least, most
            if ciphers:
                context.set_ciphers(ciphers)
            try:
                with socket.create_connection((LOOPBACK, self.site.manager.api), 10) as plain, \
                        context.wrap_socket(plain, server_hostname=LOOPBACK) as tls:
                    return tls.version(), tls.cipher()[0]
            except (ssl.SSLError, ConnectionError):
                return None

        old = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]
        for version in old:
            self.assertIsNone(connects(version, version, "ALL:@SECLEVEL=0"), version)
        for version, name in [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]:
            answer = connects(version, version)
            self.assertEqual(answer and answer[0], name)
        # With TLS 1.2: nothing without forward secrecy, without authenticated encryption, or anonymous.
        for cipher in ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA",
                       "AECDH-AES256-SHA", "NULL", "DES-CBC3-SHA"]:
            version = ssl.TLSVersion.TLSv1_2
            try:
                self.assertIsNone(connects(version, version, cipher + ":@SECLEVEL=0"), cipher)
            except ssl.SSLError:
                pass  # this client has no such cipher
        for cipher in ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"]:
            self.assertIsNotNone(connects(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, cipher), cipher)

    def test_plain_text_on_the_tls_port(self):
        with socket.create_connection((LOOPBACK, self.site.manager.api), 10) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertNotIn(b"200 OK", plain.recv(65536))


class Limits(SiteTest):
    settings = {"api": {"rate_limit_requests": 20, "rate_limit_window_seconds": 3600,
                        "cors_origins": ["https://portal.example.org"]}}

    def test_rate_limit(self):
        ann, bob = self.site.add_user("rate-ann"), self.site.add_user("rate-bob")
        statuses = [self.site.request("GET", "/v1/users/me", token=ann)[0] for _ in range(25)]
        self.assertEqual(statuses, [200] * 20 + [429] * 5)
        self.assertEqual(self.site.request("GET", "/v1/users/me", token=bob)[0], 200)
        for _ in range(30):
            self.site.call("GET", "/v1/users/me")

    def test_other_origins(self):
        with Wire(self.site) as wire:
            for origin, allowed in [("https://portal.example.org", True), ("https://evil.example", False)]:
                _, headers, _ = wire.ask(
                    f"OPTIONS /v1/flavors HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: GET\r\n\r\n")
                self.assertEqual(headers.get("access-control-allow-origin"), origin if allowed else None)
                self.assertEqual(headers.get("vary"), "Origin")
                self.assertNotIn("access-control-allow-credentials", headers)


if __name__ == "__main__":
    unittest.main()
