import ArgumentParser
import Foundation
import ManagerAccounting
import ManagerModel
import ManagerStore
import ProtocolModel
import Synchronization

/// Usage samples a second made durable: batches of many hosts, each counted as Fleet counts it, in the store's group commit.
struct UsageRate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "usage")

    @Option(help: "A new store's file.")
    var store: String

    @Option(help: "Hosts, each with a spool of its own; one batch of each is under way at a time.")
    var hosts = 64

    @Option(help: "Instances of each host.")
    var instances = 40

    @Option(help: "Samples in a batch.")
    var samples = 1000

    @Option(help: "How long it is measured, in seconds.")
    var seconds = 5.0

    func run() async throws {
        let record = try Store(path: store)
        let now = SystemTime().timestamp
        let fleet = try await Population(nodes: hosts, instances: hosts * instances).insert(into: record, at: now)
        let counted = Counter()
        let (per, seconds) = (samples, self.seconds)
        let clock = ContinuousClock()
        let began = clock.now
        try await withThrowingDiscardingTaskGroup { group in
            for (node, guests) in fleet {
                group.addTask {
                    let spool = SpoolID.generate(at: now)
                    var number: UInt64 = 0
                    // Each batch speaks of the ten seconds behind those of the last one, as a spool does.
                    var end = now - .seconds(3600)
                    while clock.now - began < .seconds(seconds) {
                        number += 1
                        end = end + .seconds(1)
                        let batch = Self.batch(number, spool, guests, per, upTo: end)
                        let outcome = try await record.write { sql in
                            try Accounting.count(batch, from: node, at: now, in: sql)
                        }
                        guard outcome == .counted(upTo: number) else { throw ExitCode.failure }
                        counted.add(per)
                    }
                }
            }
        }
        let elapsed = clock.now - began
        let all = counted.value
        report("samples_per_second", Double(all) / (elapsed / .seconds(1)))
        // Nothing was lost or doubled: all that was acknowledged is in the roll-up.
        let sum = try await record.read { sql in
            try sql.usage.total(.everything, from: (now - .seconds(86_400)).day, to: (now + .seconds(86_400)).day)
        }
        guard sum.serverMilliseconds == Int64(all) * 100 else { throw ExitCode.failure }
        record.close()
    }

    private static func batch(
        _ number: UInt64, _ spool: SpoolID, _ guests: [InstanceID], _ count: Int, upTo end: Timestamp
    ) -> UsageBatch {
        UsageBatch(
            spool: spool, number: number,
            samples: (0..<count).map { index in
                UsageSample(
                    instance: guests[index % guests.count], from: end - .milliseconds(100), to: end, vcpus: 2,
                    ramMiB: 1024, cpuTimeNanoseconds: 50_000_000, diskReadBytes: 4096, diskWriteBytes: 8192,
                    networkReceiveBytes: 1500, networkTransmitBytes: 1500)
            })
    }
}

private final class Counter: Sendable {
    private let state = Mutex(0)
    var value: Int { state.withLock { $0 } }
    func add(_ count: Int) { state.withLock { $0 += count } }
}
