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
        guard let rows = read({ try $0.usage.report(.everything, from: days.0, to: days.1, by: .instance) }) else {
            return
        }
        var counted: [InstanceID: Int64] = [:]
        for row in rows {
            if let id = row.instance { counted[id, default: 0] += row.amounts.serverMilliseconds }
        }
        var (sent, underWay): ([InstanceID: Int64], [InstanceID: Int64]) = ([:], [:])
        for batch in evidence.batches.values {
            for sample in batch.samples {
                let amount = sample.to - sample.from
                sent[sample.instance, default: 0] += amount
                // What was sent a moment ago may not have arrived yet.
                if batch.sentAt > world.now - .seconds(1) { underWay[sample.instance, default: 0] += amount }
            }
        }
        for instance in instances where instance.node.map(evidence.removedNodes.contains) != true {
            let (count, told) = (counted[instance.id] ?? 0, sent[instance.id] ?? 0)
            // What ran on another host since counts up to the move, by the managers' clock, which the host's may not agree with.
            let hosts = Set(evidence.runs.runs.lazy.filter { $0.instance == instance.id }.map(\.host))
            if count > told || (hosts.count < 2 && count < told - (underWay[instance.id] ?? 0)) {
                broken(
                    "P4",
                    "instance \(instance.id.short): agents sent samples of \(told) ms, and \(count) ms are counted")
            }
            checkTruth(instance, count, hasMoved: hosts.count > 1)
        }
    }

    /// Between two looks, with what the looks themselves take.
    private static let interval: Int64 = 10_500

    /// Server-hours are wrong by at most one sampling interval for each fault, and for as long as the fault hid the guest.
    private func checkTruth(_ instance: Instance, _ counted: Int64, hasMoved: Bool) {
        guard machines.contains(where: { $0.identity?.node == instance.node }) else { return }
        var ran: Int64 = 0
        var (below, above): (Int64, Int64) = (0, 0)
        for run in evidence.runs.runs where run.instance == instance.id {
            let end = run.ended ?? world.now
            ran += (end - run.began).microseconds / 1000
            let faults = machines[run.host].faults.filter {
                $0.at < end + .seconds(15) && $0.at + $0.lasting > run.began - .seconds(15)
            }
            let allowed = faults.reduce(Int64(0)) { $0 + Self.interval + $1.lasting.microseconds / 1000 }
            // One that runs now was looked at last an interval ago; and one that ends before any look is told by its end.
            below += allowed + Self.interval + 1000
            above += allowed + 100
        }
        if counted > ran + above {
            broken(
                "P4",
                "instance \(instance.id.short) ran \(ran) ms, and \(counted) ms are counted (allowed more: \(above))")
        }
        if !hasMoved, counted < ran - below {
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
