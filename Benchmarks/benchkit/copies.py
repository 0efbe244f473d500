"""What a site would use instead: each way brings one file from the head to all hosts, and returns the seconds that took."""

import hashlib
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from .hosts import HEAD_ADDRESS, end, finish, is_listening, wait
from .programs import BenchmarkError

PORT = 9000
LIMIT = 600
BLOCK = str(1 << 20)


def plain(head, hosts, payload):
    """One plain TCP copy to one host: T1."""
    host = hosts[0]
    receiver = host.start("socat", "-u", "-b", BLOCK, f"TCP-LISTEN:{PORT},reuseaddr", f"CREATE:{host.copy}")
    try:
        wait("the receiver listens", lambda: is_listening(receiver, PORT), 10)
        began = time.monotonic()
        sender = head.start("socat", "-u", "-b", BLOCK, f"OPEN:{payload}", f"TCP:{host.address}:{PORT}")
        finish([receiver, sender], LIMIT, "plain copy")
        return time.monotonic() - began
    finally:
        end([receiver])


def shell_chain(head, hosts, payload):
    """socat | tee | socat from host to host: no verification, no resumption."""
    processes = []
    try:
        for position, host in reversed(list(enumerate(hosts))):
            listen = ["socat", "-u", "-b", BLOCK, f"TCP-LISTEN:{PORT},reuseaddr"]
            if position + 1 == len(hosts):
                processes.append(host.start(*listen, f"CREATE:{host.copy}"))
                receiver = processes[-1]
            else:
                receiver = host.start(*listen, "-", stdout=subprocess.PIPE)
                tee = host.start("tee", host.copy, stdin=receiver.stdout, stdout=subprocess.PIPE)
                send = host.start("socat", "-u", "-b", BLOCK, "-", f"TCP:{hosts[position + 1].address}:{PORT},retry=50,interval=0.1",
                                  stdin=tee.stdout)
                receiver.stdout.close()
                tee.stdout.close()
                processes += [receiver, tee, send]
            wait("a link of the chain listens", lambda one=receiver: is_listening(one, PORT), 10)
        began = time.monotonic()
        processes.append(head.start("socat", "-u", "-b", BLOCK, f"OPEN:{payload}", f"TCP:{hosts[0].address}:{PORT}"))
        finish(processes, LIMIT, "socat chain")
        return time.monotonic() - began
    finally:
        end(processes)


def rounds(head, hosts, payload):
    """rsync in rounds: each host that has the file is a source of the next round."""
    daemons = []
    try:
        for host in [head, *hosts]:
            configuration = host.folder / "copy-rsyncd.conf"
            folder = payload.parent if host is head else host.folder
            configuration.write_text(f"use chroot = no\nuid = 0\ngid = 0\n[files]\npath = {folder}\nread only = yes\n")
            daemons.append(host.start("rsync", "--daemon", "--no-detach", f"--config={configuration}", f"--port={PORT}"))
            wait("rsync listens", lambda: is_listening(daemons[-1], PORT), 10)
        began = time.monotonic()
        holders, lacking = [head], list(hosts)
        while lacking:
            pairs = list(zip(holders, lacking))
            pulls = [target.start("rsync", "--whole-file", "--inplace",
                                  f"rsync://{source.address}:{PORT}/files/{payload.name if source is head else 'copy'}", target.copy)
                     for source, target in pairs]
            try:
                finish(pulls, LIMIT, "rsync")
            finally:
                end(pulls)
            holders += [target for _, target in pairs]
            lacking = lacking[len(pairs):]
        return time.monotonic() - began
    finally:
        end(daemons)


def udpcast(head, hosts, payload):
    """One multicast to all, repeated where packets were lost."""
    common = ["--interface", "eth0", "--portbase", str(PORT), "--nokbd"]
    receivers = [host.start("udp-receiver", *common, "--file", host.copy) for host in hosts]
    try:
        time.sleep(0.5)
        began = time.monotonic()
        sender = head.start("udp-sender", *common, "--file", payload, "--min-receivers", len(hosts), "--max-wait", "10")
        try:
            finish([*receivers, sender], LIMIT, "udpcast")
        finally:
            end([sender])
        return time.monotonic() - began
    finally:
        end(receivers)


def bittorrent(head, hosts, payload):
    """aria2 everywhere, the head as first seed, and a tracker of a few lines."""
    tracker = Tracker()
    torrent = head.folder / "copy.torrent"
    torrent.write_bytes(make_torrent(payload, f"http://{HEAD_ADDRESS}:{tracker.port}/announce"))
    common = ["aria2c", "--no-conf", "--quiet", "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false", "--disable-ipv6",
              "--seed-ratio=0.0", "--file-allocation=none", "--listen-port=6881", "--bt-max-peers=0", "--allow-overwrite=true"]
    processes = []
    try:
        processes.append(head.start(*common, f"--dir={payload.parent}", "--bt-seed-unverified=true", torrent))
        wait("the seed is known", lambda: tracker.peers, 20)
        began = time.monotonic()
        for host in hosts:
            folder = host.folder / "copy-torrent"
            folder.mkdir()
            # The hook is called with an identifier, the number of files and the first file's path; touch makes the second.
            processes.append(host.start(*common, f"--dir={folder}", "--on-bt-download-complete=/usr/bin/touch", torrent, cwd=folder))
        wait("all have it by BitTorrent", lambda: all((host.folder / "copy-torrent/1").exists() for host in hosts), LIMIT)
        elapsed = time.monotonic() - began
        for host in hosts:
            (host.folder / "copy-torrent" / payload.name).rename(host.copy)
        return elapsed
    finally:
        end(processes)
        tracker.stop()


def convert_all(hosts):
    """`qemu-img convert` on every host at once, from its copy to a raw file beside it."""
    began = time.monotonic()
    converters = [host.start("qemu-img", "convert", "-f", "qcow2", "-O", "raw", host.copy, host.folder / "copy.raw") for host in hosts]
    try:
        finish(converters, LIMIT, "qemu-img")
    finally:
        end(converters)
    return time.monotonic() - began


class Tracker:
    """Tells every peer of all others (BEP 3, BEP 23)."""

    def __init__(self):
        self.peers = set()
        tracker = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                query = parse_qs(urlsplit(self.path).query, encoding="latin-1")
                peer = bytes(map(int, self.client_address[0].split("."))) + int(query["port"][0]).to_bytes(2, "big")
                others = b"".join(sorted(tracker.peers - {peer}))
                tracker.peers.add(peer)
                body = b"d8:intervali2e12:min intervali2e5:peers" + str(len(others)).encode() + b":" + others + b"e"
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer((HEAD_ADDRESS, 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def make_torrent(payload, announce, piece=1 << 20):
    hashes = b""
    with payload.open("rb") as file:
        while block := file.read(piece):
            hashes += hashlib.sha1(block).digest()

    def text(value):
        value = value if isinstance(value, bytes) else str(value).encode()
        return str(len(value)).encode() + b":" + value

    info = b"d6:lengthi%de4:name%s12:piece lengthi%de6:pieces%se" % (
        payload.stat().st_size, text(payload.name), piece, text(hashes))
    return b"d8:announce" + text(announce) + b"4:info" + info + b"e"


def digest(path):
    # By OpenSSL, which uses the processor's own instructions; sha256sum takes four times as long.
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(hosts, expected, name="copy"):
    """Each host has what was sent."""
    for host in hosts:
        if digest(host.folder / name) != expected:
            raise BenchmarkError(f"{host.name} has another file than was sent: no figure")
