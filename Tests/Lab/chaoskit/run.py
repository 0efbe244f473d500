"""One run: load and faults for a while, then peace, then the judgement."""

import json
import random
import sys
import time

from fleet import USAGE_INTERVAL_SECONDS, wait_until

from . import checker, faults
from .client import users
from .observer import Observer


class Chaos:
    def __init__(self, lab, fleet, seed, seconds, user_count, report):
        self.lab, self.fleet, self.seed, self.seconds, self.report = lab, fleet, seed, seconds, report
        self.dice = random.Random(f"{seed}-faults")
        self.active, self.history, self.powered_off, self.faults_at = [], [], [], {}
        # Seconds for which agent or libvirt stood still, by host.
        self.standstill_at, self.began_at = {}, {}
        self.supervisor = faults.Supervisor(lab)
        self.observer = Observer(lab.record.folder)
        self.log = open(lab.record.folder / "users.jsonl", "w")
        self.users = users(lab.site, user_count, seed, self.log)

    def run(self):
        self.observer.start()
        self.supervisor.start()
        for user in self.users:
            user.start()
        began = time.monotonic()
        # A while of peace first, so that there are guests to be touched.
        time.sleep(15)
        try:
            self.trouble(began + self.seconds)
        finally:
            faults.end_all(self)
        for user in self.users:
            user.stopping.set()
        for user in self.users:
            user.join(timeout=120)
        try:
            self.settle()
        finally:
            self.observer.stopping.set()
            self.supervisor.stopping.set()
        verdict = checker.judge(self.lab, self.users, self.observer, self, USAGE_INTERVAL_SECONDS)
        checker.agent_restarts_touched_guests(verdict, self.observer, self, self.users)
        verdict.figures["programs restarted"] = self.supervisor.restarts
        verdict.figures["seconds until quiet"] = round(self.quiet_after, 1)
        return checker.write(self.report, self.seed, self.seconds, self, verdict), verdict

    def trouble(self, end):
        ends = {}
        while (now := time.monotonic()) < end:
            for fault in [one for one in self.active if ends[one] <= now]:
                self.finish(fault)
            if len(self.active) < 3 and (fault := faults.next_fault(self, self.dice)):
                self.begin(fault)
                ends[fault] = now + fault.seconds
            time.sleep(self.dice.uniform(1, 5))

    def begin(self, fault):
        self.say(f"begins: {fault}")
        self.history.append(str(fault))
        place = fault.member.name
        self.faults_at[place] = self.faults_at.get(place, 0) + 1
        # A manager or database that is away holds up everybody's samples for a moment, but loses none.
        self.active.append(fault)
        self.began_at[fault] = time.monotonic()
        fault.begin(self)

    def finish(self, fault):
        self.active.remove(fault)
        fault.finish(self)
        if fault.delays_notice:
            place, seconds = fault.member.name, time.monotonic() - self.began_at[fault]
            self.standstill_at[place] = self.standstill_at.get(place, 0.0) + seconds
        self.say(f"ended:  {fault}")

    def settle(self):
        """Peace: everything runs again, and what was asked for comes about without anybody's hand."""
        began = time.monotonic()
        for node in self.lab.databases():
            node.wait_until_synced(size=len(self.lab.databases()), is_supervised=True)
        names = [host.name for host in self.lab.hosts()]
        self.lab.site.wait_for_nodes(names, seconds=120)
        self.say("every node is alive")

        def running():
            return self.lab.query("SELECT id, kind, resource_name FROM operations WHERE status = 'running'",
                                  "id", "kind", "name")

        def settled():
            return not running() and not self.lab.query(
                "SELECT id FROM instances WHERE status NOT IN ('ACTIVE', 'STOPPED', 'ERROR', 'DELETED')", "id")

        wait_until("every operation has ended", settled, 300, explain=running, pause=1)
        self.quiet_after = time.monotonic() - began
        # The last samples are on their way for as long as the agents' spools are not empty.
        time.sleep(2 * USAGE_INTERVAL_SECONDS + 2)

    def say(self, text):
        print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def summary(report):
    names = ("faults injected", "requests acknowledged", "requests lost", "double runs", "samples lost", "samples double",
             "guests touched", "claims wrong", "crashes")
    return f"seed {report['seed']}: " + ", ".join(f"{name} {report[name]}" for name in names)


def details(verdict):
    return json.dumps(verdict.broken, indent=1) if verdict.broken else ""
