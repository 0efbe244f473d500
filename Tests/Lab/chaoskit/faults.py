"""What goes wrong: each fault knows how to begin and how to end, and a seed decides when and where."""

import signal
import threading
import time

from labkit import disks, network
from labkit.record import end, resume


class Supervisor(threading.Thread):
    """Starts again what has ended, after a moment, as systemd does on a real host (Restart=always, RestartSec=1)."""

    def __init__(self, lab):
        super().__init__(name="supervisor", daemon=True)
        self.lab = lab
        self.stopping = threading.Event()
        # (member, role) that a fault keeps down.
        self.held = set()
        self.restarts = 0
        self.problem = None

    def run(self):
        while not self.stopping.wait(1):
            for member, role in self.lab.supervised():
                if (member.name, role) in self.held or not member.is_running("holder") or member.is_running(role):
                    continue
                try:
                    self.lab.start(member, role)
                    self.restarts += 1
                except Exception as problem:  # A fault may be taking the member down at this very moment.
                    self.problem = problem


class Fault:
    """One kind of trouble at one place."""

    # Whether what happens to guests meanwhile is noticed only afterwards.
    delays_notice = False

    def __init__(self, kind, member, seconds):
        self.kind, self.member, self.seconds = kind, member, seconds

    def __str__(self):
        return f"{self.kind} {self.member.name} {self.seconds:.1f} s"


class Kill(Fault):
    """SIGKILL; the supervisor starts it again when the fault is over."""

    def __init__(self, role, member, seconds):
        super().__init__(f"kill {role} of", member, seconds)
        self.role = role
        self.delays_notice = role == "libvirtd"

    def begin(self, chaos):
        chaos.supervisor.held.add((self.member.name, self.role))
        end(self.member.process(self.role))

    def finish(self, chaos):
        chaos.supervisor.held.discard((self.member.name, self.role))


class Pause(Fault):
    """SIGSTOP: the process believes that no time has passed."""

    def __init__(self, role, member, seconds):
        super().__init__(f"pause {role} of", member, seconds)
        self.role = role
        self.delays_notice = role == "agent"

    def begin(self, chaos):
        self.process = self.member.process(self.role)
        end(self.process, signal.SIGSTOP)

    def finish(self, chaos):
        resume(self.process)


class Cut(Fault):
    """The link of a member is down."""

    def __init__(self, member, seconds):
        super().__init__("cut", member, seconds)

    def begin(self, chaos):
        network.set_link(self.member.name, up=False)

    def finish(self, chaos):
        network.set_link(self.member.name, up=True)


class FullDisk(Fault):
    """The disk under a folder has no byte left."""

    def __init__(self, what, member, folder, seconds):
        super().__init__(f"fill the {what} disk of", member, seconds)
        self.folder = folder

    def begin(self, chaos):
        disks.fill(self.folder)

    def finish(self, chaos):
        disks.free(self.folder)


class PowerCut(Fault):
    """Every process of a host ends at once, its guests too."""

    def __init__(self, member, seconds):
        super().__init__("power cut of", member, seconds)

    def begin(self, chaos):
        chaos.powered_off.append((self.member.name, time.monotonic()))
        self.member.power_off()

    def finish(self, chaos):
        chaos.lab.power_on(self.member)


def next_fault(chaos, dice):
    """What comes next, and where. Never more than one database or manager out at a time, unless quorum is the fault."""
    lab = chaos.lab
    controllers = lab.controllers()
    hosts = lab.hosts()
    busy = {fault.member.name for fault in chaos.active}
    free_hosts = [host for host in hosts if host.name not in busy]
    controller_free = not any(one.name in busy for one in controllers)
    choices = []
    if controller_free and controllers:
        leader = lab.leader() or dice.choice(controllers)
        any_one = dice.choice(controllers)
        choices += [
            (4, lambda: Kill("manager", leader, dice.uniform(0.5, 8))),
            (2, lambda: Kill("manager", any_one, dice.uniform(0.5, 8))),
            (3, lambda: Pause("manager", leader, dice.uniform(3, 15))),
        ]
        # A database node that was out is so until it has caught up, which may take longer than the fault.
        if lab.is_cluster_whole():
            choices.append((2, lambda: Cut(any_one, dice.uniform(2, 15))))
            if lab.databases():
                choices += [
                    (3, lambda: Kill("mariadb", any_one, dice.uniform(1, 10))),
                    (2, lambda: Pause("mariadb", any_one, dice.uniform(2, 12))),
                    (1, lambda: FullDisk("database", any_one, lab.database_disk(any_one), dice.uniform(4, 12))),
                ]
        choices.append((1, lambda: FullDisk("manager", any_one, lab.manager_disk(any_one), dice.uniform(4, 12))))
    if free_hosts:
        host = dice.choice(free_hosts)
        choices += [
            (3, lambda: Kill("agent", host, dice.uniform(0.2, 6))),
            (2, lambda: Pause("agent", host, dice.uniform(2, 15))),
            (3, lambda: Cut(host, dice.uniform(2, 15))),
            (2, lambda: Kill("libvirtd", host, dice.uniform(0.2, 4))),
            (1, lambda: FullDisk("agent", host, lab.agent_disk(host), dice.uniform(4, 15))),
            (1, lambda: PowerCut(host, dice.uniform(1, 5))),
        ]
    if not choices:
        return None
    weights = [weight for weight, _ in choices]
    return dice.choices([make for _, make in choices], weights)[0]()


def end_all(chaos):
    """Ends every fault that is still on."""
    for fault in list(chaos.active):
        chaos.finish(fault)
