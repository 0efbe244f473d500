public import AgentDurability
import Foundation
import ProtocolModel

/// Keeps the ledger on the disk. Blocks.
public struct LedgerFile: Sendable {
    public enum Loaded: Sendable, Equatable {
        /// A host that never gave a device away.
        case none
        case content(LedgerContent)
        /// Set aside for a person to look at; what VFIO still has is cleaned before anybody gets it.
        case damaged(copy: String)
    }

    private static let maximumBytes = 8 << 20

    private let file: CheckedFile

    public init(data: String, files: any FileSystem = HostFileSystem()) {
        file = CheckedFile(path: data + "/devices", files: files, limit: Self.maximumBytes)
    }

    /// Returns once the content is durable; only then may a device be bound for a claim in it.
    public func save(_ content: LedgerContent) throws {
        try file.save(Array(try JSONEncoder().encode(Document(content))))
    }

    /// What was kept last, for those who only look; `nil` where there is nothing that can be read.
    public func peek() throws(FileProblem) -> LedgerContent? {
        try file.peek().flatMap { (try? JSONDecoder().decode(Document.self, from: Data($0)))?.content }
    }

    public func load() throws(FileProblem) -> Loaded {
        switch try file.load() {
        case .absent: return .none
        case .damaged(let copy): return .damaged(copy: copy)
        case .content(let bytes):
            guard let content = (try? JSONDecoder().decode(Document.self, from: Data(bytes)))?.content else {
                return .damaged(copy: file.path)
            }
            return .content(content)
        }
    }
}

/// The ledger as text, apart from the types so that those may change.
private struct Document: Codable {
    struct Hold: Codable {
        enum State: String, Codable {
            case claimed, attached, cleaning
        }

        var instance: InstanceID?
        var epoch: UInt64?
        var addresses: [String]
        var state: State
        var sinceMilliseconds: Int64
        /// Absent as written by versions that did not know of it.
        var kept: [String]?
    }

    struct Quarantined: Codable {
        enum Cause: String, Codable {
            case failed, missing, occupied
        }

        var address: String
        var cause: Cause
        var reason: String
        var instance: InstanceID?
        var epoch: UInt64?
        var sinceMilliseconds: Int64
    }

    static let currentVersion = 1

    var version: Int
    var holds: [Hold]
    var quarantine: [Quarantined]

    init(_ content: LedgerContent) {
        version = Self.currentVersion
        holds = content.holds.map { hold in
            let state: Hold.State =
                switch hold.state {
                case .claimed: .claimed
                case .attached: .attached
                case .cleaning: .cleaning
                }
            return Hold(
                instance: hold.claim?.instance, epoch: hold.claim?.epoch.value, addresses: hold.addresses, state: state,
                sinceMilliseconds: hold.since.milliseconds, kept: hold.kept.isEmpty ? nil : hold.kept.sorted())
        }
        quarantine = content.quarantine.sorted { $0.key < $1.key }.map { address, found in
            let cause: Quarantined.Cause =
                switch found.cause {
                case .failed: .failed
                case .missing: .missing
                case .occupied: .occupied
                }
            return Quarantined(
                address: address, cause: cause, reason: found.reason, instance: found.claim?.instance,
                epoch: found.claim?.epoch.value, sinceMilliseconds: found.since.milliseconds)
        }
    }

    /// `nil` where it is of another version, or says what cannot be.
    var content: LedgerContent? {
        let all = holds.flatMap(\.addresses)
        guard version == Self.currentVersion, Set(all).count == all.count, all.allSatisfy(PCIScanner.isAddress),
            quarantine.allSatisfy({ PCIScanner.isAddress($0.address) }),
            holds.allSatisfy({ $0.instance != nil || $0.state == .cleaning })
        else { return nil }
        return LedgerContent(
            holds: holds.map { hold in
                let state: DeviceHold.State =
                    switch hold.state {
                    case .claimed: .claimed
                    case .attached: .attached
                    case .cleaning:
                        .cleaning(DeviceHold.Cleaning(phase: .resetting, pending: [], ticket: 0))
                    }
                return DeviceHold(
                    claim: Self.claim(hold.instance, hold.epoch), addresses: hold.addresses, state: state,
                    since: Timestamp(milliseconds: hold.sinceMilliseconds), kept: Set(hold.kept ?? []))
            },
            quarantine: Dictionary(
                quarantine.map { found in
                    let cause: DeviceQuarantine.Cause =
                        switch found.cause {
                        case .failed: .failed
                        case .missing: .missing
                        case .occupied: .occupied
                        }
                    return (
                        found.address,
                        DeviceQuarantine(
                            cause: cause, reason: found.reason, claim: Self.claim(found.instance, found.epoch),
                            since: Timestamp(milliseconds: found.sinceMilliseconds))
                    )
                }, uniquingKeysWith: { first, _ in first }))
    }

    private static func claim(_ instance: InstanceID?, _ epoch: UInt64?) -> DeviceClaim? {
        instance.map { DeviceClaim(instance: $0, epoch: Epoch(epoch ?? 0)) }
    }
}
