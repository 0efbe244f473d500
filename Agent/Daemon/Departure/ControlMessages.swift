import AgentReconcile
import Foundation
import ProtocolModel

/// What a program on the host may ask of its agent: one line of JSON a connection.
enum ControlRequest: Codable, Equatable {
    case leave(reason: String?, deadlineMilliseconds: Int64)
    case comeBack

    static let maximumBytes = 4096
    static let deadlines = Duration.seconds(1)...Duration.seconds(86_400)
    static let maximumReason = 256

    /// What is wrong with it, in a sentence.
    var objection: String? {
        guard case .leave(let reason, let milliseconds) = self else { return nil }
        guard Self.deadlines.contains(.milliseconds(milliseconds)) else {
            return "the deadline must be from 1s to 24h"
        }
        let isPlain = reason?.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F } ?? true
        guard isPlain, reason?.count ?? 0 <= Self.maximumReason else {
            return "the reason must be one line of at most \(Self.maximumReason) characters"
        }
        return nil
    }
}

/// What the agent answers: lines of JSON, the last of which is none of `guest`.
enum ControlAnswer: Codable, Equatable {
    struct Guest: Codable, Equatable {
        var instance: String
        var name: String

        init(_ guest: RemainingGuest) {
            instance = guest.instance.description
            name = guest.name
        }

        var words: String { name.isEmpty ? instance : "\(name) (\(instance))" }
    }

    static let stopped = "stopped"

    case guest(Guest, phase: String)
    /// - Parameters:
    ///   - isComplete: the hypervisor has been looked at; else nobody knows what runs.
    ///   - hasSession: the manager is being told; else it will be.
    case left(remaining: [Guest], isComplete: Bool, hasSession: Bool, problem: String?)
    case returned(hadLeft: Bool, hasSession: Bool)
    case refused(String)

    var isLast: Bool { if case .guest = self { false } else { true } }
}

extension Encodable {
    /// As one line.
    var controlLine: [UInt8] { ((try? JSONEncoder().encode(self)).map(Array.init) ?? []) + [UInt8(ascii: "\n")] }
}
