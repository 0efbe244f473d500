#!/usr/bin/env python3
"""A cable that flips bits: relay ADDRESS PORT TARGET EVERY

Listens on a port, connects to another of the same address, and turns one bit of every EVERY bytes that the target sends.
TCP does not notice, as with a network card or a switch that damages what it has already checked. Prints a line each time.
"""

import random
import socket
import sys
import threading


class Damage:
    """Counts over all connections, so that short ones are damaged, too."""

    def __init__(self, every):
        self.every, self.passed, self.lock = every, 0, threading.Lock()

    def done_to(self, data):
        with self.lock:
            before, self.passed = self.passed, self.passed + len(data)
            if before // self.every == self.passed // self.every:
                return data
        damaged = bytearray(data)
        position, bit = random.randrange(len(data)), random.randrange(8)
        damaged[position] ^= 1 << bit
        print(f"flipped bit {bit} of byte {before + position}", flush=True)
        return bytes(damaged)


def copy(source, target, change):
    try:
        while data := source.recv(1 << 16):
            target.sendall(change(data))
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def main():
    address, port, target, every = sys.argv[1], *map(int, sys.argv[2:])
    damage = Damage(every)
    with socket.create_server((address, port)) as server:
        while True:
            client, _ = server.accept()
            behind = socket.create_connection((address, target))
            threading.Thread(target=copy, args=(client, behind, bytes), daemon=True).start()
            threading.Thread(target=copy, args=(behind, client, damage.done_to), daemon=True).start()


if __name__ == "__main__":
    main()
