public import AgentDurability
import Foundation
import Synchronization

/// The disk of one host: a call may be the last one of its process, half done; what was not synced is lost, or torn, when
/// the power goes; and the disk may be full.
///
/// Names and bytes are durable apart from each other, as POSIX has it: a file's bytes by its own sync, its name by that of
/// its folder.
public final class SimulatedDisk: FileSystem {
    private struct File {
        var bytes: [UInt8] = []
        var durable: [UInt8]?
    }

    private struct NameChange {
        let folder: String
        let path: String
        /// `nil`: removed.
        let file: Int?
    }

    private struct State {
        var files: [Int: File] = [:]
        var nextFile = 0
        var names: [String: Int] = [:]
        var durableNames: [String: Int] = [:]
        /// Not durable yet, oldest first.
        var nameChanges: [NameChange] = []
        /// Steps that the process may still do before it dies in one.
        var stepsLeft: Int?
        var isDead = false
        var isFull = false
        /// A planted fault: files whose sync does nothing.
        var unsynced: String?
    }

    private let state = Mutex(State())
    private let random: Randomness

    public init(random: Randomness) { self.random = random }

    // MARK: Faults

    /// The process dies at one of its next steps.
    public func dieSoon(_ steps: Int) { state.withLock { $0.stepsLeft = steps } }

    /// Whether the process has died in a call.
    public var isDead: Bool { state.withLock { $0.isDead } }

    public func setFull(_ isFull: Bool) { state.withLock { $0.isFull = isFull } }

    public func leaveUnsynced(_ nameEnd: String?) { state.withLock { $0.unsynced = nameEnd } }

    /// A new process has the disk; the files are as the old one left them.
    public func processBegins() {
        state.withLock { state in
            state.isDead = false
            state.stepsLeft = nil
        }
    }

    /// What was not synced is gone, or there in part.
    public func losePower() {
        state.withLock { state in
            var kept = state.durableNames
            var stuck: Set<String> = []
            for change in state.nameChanges where !stuck.contains(change.folder) {
                // Changes of one folder become durable in their order.
                if random.chance(0.5) {
                    kept[change.path] = change.file
                } else {
                    stuck.insert(change.folder)
                }
            }
            state.names = kept
            state.durableNames = kept
            state.nameChanges = []
            for number in Set(kept.values).sorted() {
                guard var file = state.files[number] else { continue }
                let old = file.durable ?? []
                if file.bytes != old {
                    switch random.below(3) {
                    case 0: file.bytes = old
                    case 1: break
                    default:
                        // What was added may be torn; what was synced before it is not.
                        let safe = file.bytes.starts(with: old) ? old.count : 0
                        file.bytes = Array(file.bytes.prefix(safe + random.below(file.bytes.count - safe + 1)))
                    }
                }
                file.durable = file.bytes
                state.files[number] = file
            }
            let present = Set(kept.values)
            state.files = state.files.filter { present.contains($0.key) }
        }
    }

    /// What a file would hold if the power went now and nothing were lucky; `nil` where it might be missing.
    public func durableContent(_ path: String) -> [UInt8]? {
        state.withLock { state in state.durableNames[path].flatMap { state.files[$0]?.durable } }
    }

    /// Puts a file there as the kernel does, durably.
    public func put(_ path: String, _ bytes: [UInt8]) {
        state.withLock { state in
            let number = state.nextFile
            state.nextFile += 1
            state.files[number] = File(bytes: bytes, durable: bytes)
            state.names[path] = number
            state.durableNames[path] = number
        }
    }

    // MARK: Calls

    /// One step of a call; throws where the process died at it or before.
    private static func step(_ state: inout State, _ operation: String, _ path: String) throws(FileProblem) {
        if !state.isDead, let left = state.stepsLeft {
            if left <= 0 { state.isDead = true } else { state.stepsLeft = left - 1 }
        }
        if state.isDead { throw FileProblem(operation: operation, path: path, code: EIO) }
    }

    private static func folder(of path: String) -> String {
        path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    }

    private static func name(_ state: inout State, _ path: String, _ file: Int?) {
        state.names[path] = file
        state.nameChanges.append(NameChange(folder: folder(of: path), path: path, file: file))
    }

    public func read(_ path: String, limit: Int) throws(FileProblem) -> [UInt8]? {
        let bytes = state.withLock { state in state.names[path].flatMap { state.files[$0]?.bytes } }
        guard let bytes else { return nil }
        if bytes.count > limit { throw FileProblem(operation: "read", path: path, code: EFBIG) }
        return bytes
    }

    public func write(_ bytes: [UInt8], to path: String, mode: UInt32) throws(FileProblem) {
        try state.withLock { state throws(FileProblem) in
            try Self.step(&state, "open", path)
            let number: Int
            if let known = state.names[path] {
                number = known
                state.files[number]?.bytes = []
            } else {
                number = state.nextFile
                state.nextFile += 1
                state.files[number] = File()
                Self.name(&state, path, number)
            }
            try put(bytes, to: number, path, &state)
        }
    }

    public func append(_ bytes: [UInt8], to path: String, mode: UInt32) throws(FileProblem) {
        try state.withLock { state throws(FileProblem) in
            try Self.step(&state, "open", path)
            let number: Int
            if let known = state.names[path] {
                number = known
            } else {
                number = state.nextFile
                state.nextFile += 1
                state.files[number] = File()
                Self.name(&state, path, number)
            }
            try put(bytes, to: number, path, &state)
        }
    }

    private func put(_ bytes: [UInt8], to number: Int, _ path: String, _ state: inout State) throws(FileProblem) {
        let half = bytes.prefix(random.below(bytes.count + 1))
        if state.isFull, !bytes.isEmpty {
            state.files[number]?.bytes += half
            throw FileProblem(operation: "write", path: path, code: ENOSPC)
        }
        do throws(FileProblem) {
            try Self.step(&state, "write", path)
        } catch {
            state.files[number]?.bytes += half
            throw error
        }
        state.files[number]?.bytes += bytes
        try Self.step(&state, "sync", path)
        if let unsynced = state.unsynced, path.contains(unsynced) { return }
        let whole = state.files[number]?.bytes
        state.files[number]?.durable = whole
    }

    public func truncate(_ path: String, to size: Int) throws(FileProblem) {
        try state.withLock { state throws(FileProblem) in
            try Self.step(&state, "truncate", path)
            guard let number = state.names[path] else {
                throw FileProblem(operation: "truncate", path: path, code: ENOENT)
            }
            let kept = Array(state.files[number]?.bytes.prefix(size) ?? [])
            state.files[number]?.bytes = kept
            try Self.step(&state, "sync", path)
            state.files[number]?.durable = kept
        }
    }

    public func rename(_ path: String, to new: String) throws(FileProblem) {
        try state.withLock { state throws(FileProblem) in
            try Self.step(&state, "rename", path)
            guard let number = state.names[path] else {
                throw FileProblem(operation: "rename", path: path, code: ENOENT)
            }
            state.names[path] = nil
            state.names[new] = number
            // One change of the folder: both names or neither.
            state.nameChanges.append(NameChange(folder: Self.folder(of: new), path: new, file: number))
            state.nameChanges.append(NameChange(folder: Self.folder(of: path), path: path, file: nil))
        }
    }

    public func remove(_ path: String) throws(FileProblem) {
        try state.withLock { state throws(FileProblem) in
            try Self.step(&state, "remove", path)
            if state.names[path] != nil { Self.name(&state, path, nil) }
        }
    }

    public func syncFolder(_ path: String) throws(FileProblem) {
        try state.withLock { state throws(FileProblem) in
            try Self.step(&state, "sync", path)
            for change in state.nameChanges where change.folder == path {
                state.durableNames[change.path] = change.file
            }
            state.nameChanges.removeAll { $0.folder == path }
        }
    }

    public func list(_ path: String) throws(FileProblem) -> [String] {
        state.withLock { state in
            state.names.keys.filter { Self.folder(of: $0) == path }.map { String($0.dropFirst(path.count + 1)) }
                .sorted()
        }
    }

    public func makeFolder(_ path: String, mode: UInt32) throws(FileProblem) {}
}
