public import AgentDurability
import Foundation
import Synchronization

/// The host's files, of which the n-th changing call fails, half done where it can be, and all later ones with it: as
/// when the disk is full, or when the process is killed there.
public final class FaultyFileSystem: FileSystem {
    private let host = HostFileSystem()
    private let state = Mutex(State())
    private let code: Int32

    private struct State {
        var calls = 0
        var failAt: Int?
        var failsOnce = false
    }

    public init(code: Int32? = nil) { self.code = code ?? ENOSPC }

    /// Changing calls so far.
    public var calls: Int { state.withLock { $0.calls } }

    /// Fails the n-th call from now on (1 is the next), and those behind it unless `once`.
    public func fail(at call: Int?, once: Bool = false) {
        state.withLock {
            $0.failAt = call.map { [calls = $0.calls] in $0 + calls }
            $0.failsOnce = once
        }
    }

    private func check(_ operation: String, _ path: String) throws(FileProblem) {
        let fails = state.withLock { state in
            state.calls += 1
            guard let failAt = state.failAt else { return false }
            return state.failsOnce ? state.calls == failAt : state.calls >= failAt
        }
        if fails { throw FileProblem(operation: operation, path: path, code: code) }
    }

    public func read(_ path: String, limit: Int) throws(FileProblem) -> [UInt8]? { try host.read(path, limit: limit) }
    public func list(_ path: String) throws(FileProblem) -> [String] { try host.list(path) }

    public func write(_ bytes: [UInt8], to path: String, mode: UInt32) throws(FileProblem) {
        do { try check("write", path) } catch {
            try host.write(Array(bytes.prefix(bytes.count / 2)), to: path, mode: mode)
            throw error
        }
        try host.write(bytes, to: path, mode: mode)
    }

    public func append(_ bytes: [UInt8], to path: String, mode: UInt32) throws(FileProblem) {
        do { try check("append", path) } catch {
            try host.append(Array(bytes.prefix(bytes.count / 2)), to: path, mode: mode)
            throw error
        }
        try host.append(bytes, to: path, mode: mode)
    }

    public func truncate(_ path: String, to size: Int) throws(FileProblem) {
        try check("truncate", path)
        try host.truncate(path, to: size)
    }

    public func rename(_ path: String, to new: String) throws(FileProblem) {
        try check("rename", path)
        try host.rename(path, to: new)
    }

    public func remove(_ path: String) throws(FileProblem) {
        try check("remove", path)
        try host.remove(path)
    }

    public func syncFolder(_ path: String) throws(FileProblem) {
        try check("sync", path)
        try host.syncFolder(path)
    }

    public func makeFolder(_ path: String, mode: UInt32) throws(FileProblem) {
        try check("make the folder", path)
        try host.makeFolder(path, mode: mode)
    }
}

/// A folder that is gone when the test is over.
public final class ScratchFolder: Sendable {
    public let path: String

    public init() {
        path = NSTemporaryDirectory() + "roost-test-" + UUID().uuidString
        try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}
