import ArgumentParser
import Foundation
import RoostClient
import Testing

@testable import ManagerCommand

@Suite("Borrowed nodes, as people see them")
struct NodeScheduleTests {
    @Test("times to come: from now, or as the API has them")
    func moments() throws {
        let now = Date(timeIntervalSince1970: 1_790_000_000)
        #expect(try MomentText.read("90m", now: now) == "2026-09-21T15:43:20Z")
        #expect(try MomentText.read("2d", now: now) == "2026-09-23T14:13:20Z")
        #expect(try MomentText.read("2026-12-01T06:00:00+01:00", now: now) == "2026-12-01T06:00:00+01:00")
        for wrong in ["", "m", "0h", "-1h", "tomorrow", "12", "99999999999d"] {
            #expect(throws: Failure.self, "\(wrong)") { _ = try MomentText.read(wrong, now: now) }
        }
    }

    @Test("status says who keeps a node out of service, why, until when, and its windows")
    func words() {
        let node: JSON = [
            "disabled_by": .string("root"), "reason": .string("disks"), "until": .string("2026-12-01T06:00:00Z"),
            "availability": [
                "windows": .string("20:00-06:00 daily"), "time_zone": .string("UTC"), "owner": .string("ann"),
                "reason": .string("classroom"),
            ],
        ]
        #expect(
            NodeSchedule.words(node)
                == "by root: disks; until 2026-12-01T06:00:00Z; windows of ann (classroom): 20:00-06:00 daily UTC")
        #expect(NodeSchedule.words(["disabled_by": .null, "until": .null, "availability": .null]) == nil)
    }

    @Test("instances are counted by host and state, those of hosts without any as well (HLT-29)")
    func stats() {
        let instances: [JSON] = [("cn1", "ACTIVE"), ("cn1", "ERROR"), ("cn3", "ACTIVE")].map { node, status in
            ["node": .string(node), "status": .string(status)]
        }
        let (rows, columns) = NodeCommand.Stats.table(nodes: ["cn2", "cn1"], instances: instances)
        #expect(
            TableWriter(columns: columns).csv(rows) == """
                node,all,ACTIVE,ERROR
                cn1,2,1,1
                cn2,0,0,0
                cn3,1,1,0
                (all),3,2,1
                """)
    }

    @Test("while a node is emptied, its line begins with its name (HLT-25)")
    func lines() {
        let operation: JSON = [
            "result": [
                "hosts": .array([
                    ["node": .string("cn1"), "remaining": .texts(["a", "b"]), "detail": .string("2 guests asked")],
                    ["node": .string("cn2"), "remaining": .array([]), "detail": .string("no domain is left")],
                ])
            ]
        ]
        #expect(NodeReport.lines(operation) == "cn1: 2 running; 2 guests asked")
    }

    @Test("modes and numbers of a drain are checked")
    func drain() throws {
        let drain = try #require(
            try Roost.parseAsRoot(["node", "drain", "cn[1-2]", "--mode", "wait", "--deadline", "60"])
                as? NodeCommand.Drain)
        #expect(drain.mode == .wait && drain.drain.deadline == 60 && drain.drain.parallel == 32)
        for wrong in [["--mode", "fast"], ["--parallel", "0"], ["--vm-timeout", "-1"]] {
            #expect(throws: (any Error).self) { _ = try Roost.parseAsRoot(["node", "drain", "cn1"] + wrong) }
        }
    }
}
