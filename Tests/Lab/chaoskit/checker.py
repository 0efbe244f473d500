"""The judgement: database, libvirt on every host, usage and the users' own log, held against the promises. Shares no code
with what it judges."""

import json
from pathlib import Path


class Verdict:
    """Broken promises by name, each with a sentence; and the figures of the report."""

    def __init__(self):
        self.broken = {}
        self.figures = {}

    def add(self, promise, sentence):
        self.broken.setdefault(promise, []).append(sentence)

    def count(self, promise):
        return len(self.broken.get(promise, []))


def judge(lab, users, observer, chaos, interval):
    verdict = Verdict()
    rows = {row["id"]: row for row in lab.table(
        "instances", "id", "name", "node_id", "desired", "status", "status_reason", "vcpus", "ram_mib", "disk_gib",
        "mac_address", "ip_address")}
    nodes = {row["id"]: row for row in lab.table(
        "nodes", "id", "name", "claimed_vcpus", "claimed_ram_mib", "claimed_disk_gib", "instance_count", "inventory",
        "cpu_allocation_ratio", "ram_allocation_ratio", "disk_allocation_ratio")}
    requests = [request for user in users for request in user.requests]
    doubles(verdict, observer)
    lost_requests(verdict, rows, users, requests, lab)
    claims(verdict, rows, nodes)
    usage(verdict, lab, rows, observer, chaos, interval)
    operations(verdict, lab)
    for user in users:
        if user.problem:
            verdict.add("P10", f"{user.name} ended with {user.problem!r}")
    verdict.figures.update({
        "requests acknowledged": sum(1 for one in requests if one.outcome == "acknowledged"),
        "requests refused": sum(1 for one in requests if one.outcome == "refused"),
        "requests unanswered": sum(1 for one in requests if one.outcome == "unknown"),
        "attempts": sum(one.attempts for one in requests),
    })
    return verdict


def doubles(verdict, observer):
    for instance, lives in sorted(observer.doubles):
        verdict.add("P1", f"{instance} ran twice at once: {lives}")


def lost_requests(verdict, rows, users, requests, lab):
    running = {instance: (host.name) for host in lab.hosts() for instance in lab.domains(host)}
    names = {}
    for row in rows.values():
        names.setdefault(row["name"], []).append(row["id"])
    for name, holders in names.items():
        if name.startswith("chaos-") and len(holders) > 1:
            verdict.add("P2", f"one request to create {name} made {len(holders)} instances")
    unsure = {one.instance for one in requests if one.outcome == "unknown"}
    for user in users:
        for instance, wanted in user.wanted.items():
            row = rows.get(instance)
            if row is None:
                if wanted != "deleted":
                    verdict.add("P2", f"{instance} was acknowledged and is not in the record")
                continue
            # A request that was never answered may or may not have been carried out.
            if instance in unsure:
                continue
            if row["status"] == "ERROR":
                if not row["status_reason"]:
                    verdict.add("P2", f"{instance} is in ERROR without a reason")
                continue
            expected = {"running": "ACTIVE", "stopped": "STOPPED", "deleted": "DELETED"}[wanted]
            if row["status"] != expected:
                verdict.add("P2", f"{instance} should be {expected} and is {row['status']}: {row['status_reason']}")
            elif (instance in running) != (wanted == "running"):
                verdict.add("P2", f"{instance} is {row['status']} in the record, but libvirt says "
                                  f"{'running' if instance in running else 'not running'}")
    for instance, host in running.items():
        row = rows.get(instance)
        if row is None or row["status"] == "DELETED":
            verdict.add("P2", f"{instance} runs on {host}, but the record says {row['status'] if row else 'nothing'}")


def claims(verdict, rows, nodes):
    live = [row for row in rows.values() if row["status"] != "DELETED"]
    for kind in ("mac_address",):
        values = [row[kind] for row in live if row[kind]]
        if len(values) != len(set(values)):
            verdict.add("P3", f"a {kind} belongs to two instances")
    places = [(row["node_id"], row["ip_address"]) for row in live if row["ip_address"]]
    if len(places) != len(set(places)):
        verdict.add("P3", "an address belongs to two instances of one node")
    for node in nodes.values():
        mine = [row for row in live if row["node_id"] == node["id"]]
        for column, claimed in (("vcpus", "claimed_vcpus"), ("ram_mib", "claimed_ram_mib"), ("disk_gib", "claimed_disk_gib")):
            total = sum(int(row[column]) for row in mine)
            if total != int(node[claimed]):
                verdict.add("P3", f"{node['name']} claims {node[claimed]} {column}, its instances have {total}")


def usage(verdict, lab, rows, observer, chaos, interval):
    """P4. A host's power cut, and each fault there, may cost an interval; nothing may be counted twice. While the agent or
    libvirt stands still, the end of a guest is noticed later, and counted up to then."""
    counted = {row["instance_id"]: int(row["server_ms"]) / 1000 for row in lab.query(
        "SELECT instance_id, SUM(server_ms) AS server_ms FROM usage_hourly GROUP BY instance_id", "instance_id", "server_ms")}
    names = {row["id"]: row["name"] for row in lab.table("nodes", "id", "name")}
    worst = 0.0
    for instance, row in rows.items():
        real, had = observer.run_seconds(instance), counted.get(instance, 0.0)
        host = names.get(row["node_id"], "")
        faults, standstill = chaos.faults_at.get(host, 0), chaos.standstill_at.get(host, 0.0)
        # Each start and end of a guest lies somewhere within an interval, too; and sightings are a little apart.
        slack = 2 + observer.longest_gap * 2
        most_lost = interval * (faults + observer.starts(instance) + 1) + slack
        if had > real + interval + standstill + slack:
            verdict.add("P4 double", f"{instance}: counted {had:.1f} s, ran {real:.1f} s")
        elif had < real - most_lost:
            verdict.add("P4 lost", f"{instance}: counted {had:.1f} s, ran {real:.1f} s, {faults} faults on its host")
        worst = max(worst, abs(had - real))
    verdict.figures["largest difference of server seconds"] = round(worst, 1)


def operations(verdict, lab):
    for row in lab.query("SELECT id, kind, status FROM operations WHERE status = 'running'", "id", "kind", "status"):
        verdict.add("P2", f"operation {row['id']} ({row['kind']}) never ended")


def agent_restarts_touched_guests(verdict, observer, chaos, users):
    """P5: without a power cut or a request, a guest's process stays the same one."""
    asked = {}
    for user in users:
        for request in user.requests:
            if request.action in ("create", "start", "reboot", "stop", "delete") and request.outcome != "refused":
                asked[request.instance] = asked.get(request.instance, 0) + 1
    cut = {name for name, _ in chaos.powered_off}
    for instance in {life[0] for life in observer.lives}:
        hosts = {life[1] for life in observer.lives if life[0] == instance}
        starts = observer.starts(instance)
        if not hosts & cut and starts > asked.get(instance, 0):
            verdict.add("P5", f"{instance} was started {starts} times for {asked.get(instance, 0)} requests")


def write(path, seed, seconds, chaos, verdict):
    report = {
        "seed": seed, "seconds": seconds, "faults injected": len(chaos.history), **verdict.figures,
        "requests lost": verdict.count("P2"), "double runs": verdict.count("P1"),
        "samples lost": verdict.count("P4 lost"), "samples double": verdict.count("P4 double"),
        "guests touched": verdict.count("P5"), "claims wrong": verdict.count("P3"), "crashes": verdict.count("P10"),
        "broken": verdict.broken, "faults": chaos.history,
    }
    Path(path).write_text(json.dumps(report, indent=1) + "\n")
    return report
