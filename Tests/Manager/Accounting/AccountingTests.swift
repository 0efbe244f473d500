import Foundation
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing
import TestsSupportStore

@testable import ManagerAccounting

@Suite("Accounting")
struct AccountingTests {
    static let now = Timestamp(milliseconds: 1_790_000_000_000)

    @Test("splits a sample at full hours and loses nothing")
    func split() {
        let hour: Int64 = 3_600_000
        let sample = UsageSample(
            instance: .generate(at: Self.now), from: Timestamp(milliseconds: 10 * hour - 1000),
            to: Timestamp(milliseconds: 12 * hour + 500), vcpus: 2, ramMiB: 512, cpuTimeNanoseconds: 1_000_003,
            diskReadBytes: 7)
        var parts: [(hour: Int64, amounts: UsageAmounts)] = []
        Accounting.eachHour(of: sample) { parts.append(($0, $1)) }
        #expect(parts.map(\.hour) == [9, 10, 11, 12])
        var sum = UsageAmounts()
        for part in parts { sum += part.amounts }
        #expect(sum.serverMilliseconds == 2 * hour + 1500)
        #expect(sum.vcpuMilliseconds == 2 * (2 * hour + 1500))
        #expect(sum.cpuTimeNanoseconds == 1_000_003)
        #expect(sum.diskReadBytes == 7)
        #expect(parts[0].amounts.serverMilliseconds == 1000)
    }

    @Test("counts a batch once however often it comes, and refuses a gap (P4)")
    func once() async throws {
        let place = try StorePlace()
        let store = try Store(place.location)
        defer { withExtendedLifetime(place) { store.close() } }
        let node = Node(id: .generate(at: Self.now), name: "host1", certificateSerial: "1", joinedAt: Self.now)
        let flavor = Flavor(
            id: .generate(at: Self.now), name: "s", vcpus: 2, ramMiB: 512, diskGiB: 1, createdAt: Self.now)
        let user = User(
            id: .generate(at: Self.now), name: "u", role: .user, account: "default", email: nil, passwordHash: "",
            tokensValidAfter: Self.now, createdAt: Self.now)
        let instance = Instance(
            id: .generate(at: Self.now), name: "i", owner: user.id, account: "default", flavor: flavor,
            image: .generate(at: Self.now), keyName: nil, sshKeys: [], userData: [], metadata: [:], hostName: "i",
            node: node.id, macAddress: "52:54:00:00:00:01", ipAddress: "10.0.0.2", createdAt: Self.now)
        try await store.write { sql in
            try sql.users.insert(user)
            try sql.nodes.insert(node)
            try sql.flavors.insert(flavor)
            try sql.instances.insert(instance)
        }
        let sample = UsageSample(
            instance: instance.id, from: Self.now - .seconds(10), to: Self.now, vcpus: 2, ramMiB: 512)
        let spool = SpoolID.generate(at: Self.now)
        func count(_ number: UInt64, follows: UInt64? = nil) async throws -> Accounting.Outcome {
            try await store.write { sql in
                try Accounting.count(
                    UsageBatch(spool: spool, number: number, samples: [sample], follows: follows), from: node.id,
                    at: Self.now, in: sql)
            }
        }
        #expect(try await count(1) == .counted(upTo: 1))
        #expect(try await count(1) == .counted(upTo: 1))
        #expect(try await count(3) == .missing(after: 1))
        #expect(try await count(2) == .counted(upTo: 2))
        #expect(try await count(1) == .counted(upTo: 2))
        // The agent has the one between, which may yet come; then it has nothing between any more.
        #expect(try await count(9, follows: 5) == .missing(after: 2))
        #expect(try await count(9, follows: 2) == .resumed(upTo: 9, lost: 6))
        #expect(try await count(9, follows: 2) == .counted(upTo: 9))
        #expect(try await count(12, follows: 0) == .resumed(upTo: 12, lost: 2))
        #expect(try await count(13, follows: 12) == .counted(upTo: 13))
        let rows = try await store.read { sql in
            try sql.usage.report(.user(user.id), from: Self.now.day, to: Self.now.day, by: .instance)
        }
        #expect(rows.count == 1)
        #expect(rows.first?.amounts.serverMilliseconds == 50_000)
        #expect(rows.first?.amounts.vcpuMilliseconds == 100_000)
    }

    @Test(
        "hours of devices are those of the instances that have them, by alias, once for each sample (P4)",
        arguments: StoreEngine.allCases)
    func devices(_ engine: StoreEngine) async throws {
        let place = try StorePlace(engine)
        let store = try Store(place.location)
        defer { withExtendedLifetime(place) { store.close() } }
        let node = Node(id: .generate(at: Self.now), name: "host1", certificateSerial: "1", joinedAt: Self.now)
        let users = ["ann", "eve"].map { name in
            User(
                id: .generate(at: Self.now), name: name, role: .user, account: name == "ann" ? "default" : "physics",
                email: nil, passwordHash: "", tokensValidAfter: Self.now, createdAt: Self.now)
        }
        let flavors = ["", "a100:2,t4:1", "t4:1"].map { aliases in
            Flavor(
                id: .generate(at: Self.now), name: "f\(aliases)", vcpus: 2, ramMiB: 512, diskGiB: 1,
                properties: aliases.isEmpty ? [:] : ["pci_passthrough:alias": aliases], createdAt: Self.now)
        }
        // Ann has all three, eve the last.
        let instances = [(0, 0), (0, 1), (0, 2), (1, 2)].enumerated().map { number, kind in
            Instance(
                id: .generate(at: Self.now), name: "i\(number)", owner: users[kind.0].id,
                account: users[kind.0].account,
                flavor: flavors[kind.1], image: .generate(at: Self.now), keyName: nil, sshKeys: [], userData: [],
                metadata: [:], hostName: "i", node: node.id, macAddress: "52:54:00:00:00:0\(number)",
                ipAddress: "10.0.0.\(number + 2)", createdAt: Self.now)
        }
        try await store.write { sql in
            for user in users { try sql.users.insert(user) }
            try sql.nodes.insert(node)
            for flavor in flavors { try sql.flavors.insert(flavor) }
            for instance in instances { try sql.instances.insert(instance) }
        }
        let spool = SpoolID.generate(at: Self.now)
        // Twelve samples of ten minutes, across midnight, each batch told twice.
        let midnight = Timestamp(milliseconds: Self.now.day.daysSince1970 * 86_400_000)
        for number in 1...12 {
            let from = midnight + .seconds(600) * (number - 7)
            let samples = instances.map {
                UsageSample(instance: $0.id, from: from, to: from + .seconds(600), vcpus: 2, ramMiB: 512)
            }
            for _ in 0..<2 {
                try await store.write { sql in
                    _ = try Accounting.count(
                        UsageBatch(spool: spool, number: UInt64(number), samples: samples), from: node.id, at: Self.now,
                        in: sql)
                }
            }
        }
        let hour: Int64 = 3_600_000
        let (before, today) = ((midnight - .seconds(1)).day, Self.now.day)
        func report(_ scope: Scope, _ grouping: UsageRepository.Grouping) async throws -> [UsageRow] {
            try await store.read { try $0.usage.report(scope, from: before, to: today, by: grouping) }
        }
        let byInstance = try await report(.everything, .instance)
        #expect(
            instances.map { instance in byInstance.first { $0.instance == instance.id }?.devices }
                == [[:], ["a100": 4 * hour, "t4": 2 * hour], ["t4": 2 * hour], ["t4": 2 * hour]])
        #expect(byInstance.allSatisfy { $0.amounts.serverMilliseconds == 2 * hour })
        let byUser = try await report(.everything, .user)
        #expect(byUser.first { $0.user == "ann" }?.devices == ["a100": 4 * hour, "t4": 4 * hour])
        #expect(byUser.first { $0.user == "eve" }?.devices == ["t4": 2 * hour])
        let byDay = try await report(.user(users[0].id), .day)
        #expect(byDay.map(\.devices) == Array(repeating: ["a100": 2 * hour, "t4": 2 * hour], count: 2))
        let total = try await store.read { try $0.usage.totalDevices(.everything, from: before, to: today) }
        #expect(total == ["a100": 4 * hour, "t4": 6 * hour])
        let account = [ListFilter(column: "account", value: .text("physics"))]
        #expect(
            try await store.read { try $0.usage.totalDevices(.everything, from: before, to: today, account) }
                == ["t4": 2 * hour])
    }

    @Test("what a hostile node says can neither stop the manager nor spoil a sum (P10)")
    func hostile() async throws {
        let place = try StorePlace()
        let store = try Store(place.location)
        defer { withExtendedLifetime(place) { store.close() } }
        let node = Node(id: .generate(at: Self.now), name: "host1", certificateSerial: "1", joinedAt: Self.now)
        let flavor = Flavor(
            id: .generate(at: Self.now), name: "s", vcpus: 2, ramMiB: 512, diskGiB: 1, createdAt: Self.now)
        let user = User(
            id: .generate(at: Self.now), name: "u", role: .user, account: "default", email: nil, passwordHash: "",
            tokensValidAfter: Self.now, createdAt: Self.now)
        let instance = Instance(
            id: .generate(at: Self.now), name: "i", owner: user.id, account: "default", flavor: flavor,
            image: .generate(at: Self.now), keyName: nil, sshKeys: [], userData: [], metadata: [:], hostName: "i",
            node: node.id, macAddress: "52:54:00:00:00:01", ipAddress: "10.0.0.2", createdAt: Self.now)
        try await store.write { sql in
            try sql.users.insert(user)
            try sql.nodes.insert(node)
            try sql.flavors.insert(flavor)
            try sql.instances.insert(instance)
        }
        let (id, now) = (instance.id, Self.now.milliseconds)
        let times: [(Int64, Int64)] = [
            (.min, now), (.min, .max), (now, .max), (.max, .min), (now, .min), (-1, now), (now, now), (0, now),
            (.min, .min + 1), (now - 1, now + 3_600_000),
        ]
        let largest: [UsageSample] = times.map { from, to in
            UsageSample(
                instance: id, from: Timestamp(milliseconds: from), to: Timestamp(milliseconds: to), vcpus: 65_536,
                ramMiB: 1 << 30, cpuTimeNanoseconds: .max, diskReadBytes: .max, diskWriteBytes: .max,
                networkReceiveBytes: .max, networkTransmitBytes: .max)
        }
        // Ten intervals of ten seconds, each with the largest numbers there are.
        let counted = (0..<10).map { index in
            var sample = largest[0]
            sample.from = Self.now - .seconds(10 * (index + 1))
            sample.to = Self.now - .seconds(10 * index)
            return sample
        }
        let batch = UsageBatch(spool: .generate(at: Self.now), number: 1, samples: largest + counted)
        #expect(
            try await store.write { try Accounting.count(batch, from: node.id, at: Self.now, in: $0) }
                == .counted(upTo: 1))
        let total = try await store.read { sql in
            try sql.usage.total(.everything, from: CivilDay(daysSince1970: 0), to: (Self.now + .seconds(86_400)).day)
        }
        #expect(total.serverMilliseconds == 100_000)
        #expect(total.vcpuMilliseconds == 200_000 && total.ramMiBMilliseconds == 512 * 100_000)
        #expect((0...66 * 100_000 * 1_000_000).contains(total.cpuTimeNanoseconds))
        #expect((0...(100_000 << 26)).contains(total.networkReceiveBytes))
    }
}
