import AgentReconcile
import ManagerModel
import ManagerStore
import ProtocolMessages
import ProtocolModel
import SimulatorWorld
import SwiftProtobuf

/// Whether use was counted once, and what was used was counted (P4).
extension Checker {
    func checkUsage(_ instances: [Instance]) {
        let day = World.epoch.day
        let days = (CivilDay(daysSince1970: day.daysSince1970 - 1), CivilDay(daysSince1970: day.daysSince1970 + 1))
        guard let rows = read({ try $0.usage.report(user: nil, from: days.0, to: days.1, by: .instance) }) else {
            return
        }
        var counted: [InstanceID: Int64] = [:]
        for row in rows {
            if let id = row.instance { counted[id, default: 0] += row.amounts.serverMilliseconds }
        }
        var sent: [InstanceID: Int64] = [:]
        for samples in evidence.batches.values {
            for sample in samples { sent[sample.instance, default: 0] += sample.to - sample.from }
        }
        for instance in instances where !evidence.removedNodes.contains(instance.node) {
            let (count, told) = (counted[instance.id] ?? 0, sent[instance.id] ?? 0)
            if count != told {
                broken(
                    "P4",
                    "instance \(instance.id.short): agents sent samples of \(told) ms, and \(count) ms are counted")
            }
            checkTruth(instance, count)
        }
    }

    private func checkTruth(_ instance: Instance, _ counted: Int64) {
        guard let machine = machines.first(where: { $0.identity?.node == instance.node }) else { return }
        var ran: Int64 = 0
        var (below, above): (Int64, Int64) = (0, 0)
        for run in evidence.runs.runs where run.instance == instance.id {
            let end = run.ended ?? world.now
            ran += (end - run.began).microseconds / 1000
            above += 100
            if let ended = run.ended {
                // What nobody could see to its end lacks at most the time since it was looked at last, and however long
                // the looking was impossible. A run that began and ended between two looks is not seen at all.
                let isDisturbed = machine.faults.contains { $0 > ended - .seconds(100) && $0 < ended + .seconds(15) }
                below += isDisturbed ? 100_000 : 11_500
            } else {
                below += 11_500
            }
        }
        below += Int64(machine.clockJumps) * 60_000
        above += Int64(machine.clockJumps) * 10_500
        if counted > ran + above {
            broken("P4", "instance \(instance.id.short) ran \(ran) ms, and \(counted) ms are counted")
        }
        if counted < ran - below {
            broken(
                "P4",
                "instance \(instance.id.short) ran \(ran) ms, only \(counted) ms are counted (allowed less: \(below))"
            )
        }
    }

    /// The instances of a host's kept assignments, with the wish that each is of; `nil` where there are none.
    func keptSet(of machine: Machine) -> [InstanceID: UInt64]? {
        guard let bytes = machine.disk.durableContent("/data/assignments"),
            let set = try? Roost_V1_AssignmentSet(serializedBytes: Array(bytes.dropFirst(20)))
        else { return nil }
        var kept: [InstanceID: UInt64] = [:]
        for message in set.instances {
            if let id = InstanceID(bytes: message.instanceID) { kept[id] = message.generation }
        }
        return kept
    }
}
