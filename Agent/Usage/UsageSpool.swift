public import AgentDurability
import Foundation
public import ProtocolMessages
public import ProtocolModel
import SwiftProtobuf

/// What the spool has to say to a person.
public enum SpoolNotice: Sendable, Equatable {
    case tornTailRemoved(file: String)
    /// Records are unreadable; the spool goes on under a new ID.
    case damaged(file: String)
    /// Nobody fetched the samples for so long that the oldest had to go.
    case overBudget(batchesLost: UInt64)
}

/// Why the spool cannot be used.
public enum SpoolError: Error, Sendable, Equatable, CustomStringConvertible {
    case files(FileProblem)
    case unencodable(String)

    public var description: String {
        switch self {
        case .files(let problem): problem.description
        case .unencodable(let why): "a usage batch could not be encoded: \(why)"
        }
    }
}

/// Where a batch stands in the spool.
public struct SpoolPosition: Sendable, Hashable, Comparable {
    var segment: UInt64
    var index: Int

    public static func < (left: Self, right: Self) -> Bool {
        (left.segment, left.index) < (right.segment, right.index)
    }
}

/// Keeps usage batches on disk until the manager has committed them (P4).
///
/// A batch is on the disk before anybody hears of it; its number is never given to another. What is acknowledged is
/// removed by whole files; after a restart some batches are sent again, which the manager does not count again.
/// All calls block: use it from a thread that may.
public struct UsageSpool: Sendable {
    private let folder: String
    private let files: any FileSystem
    private let budget: Int
    private let segmentBytes: Int
    private var segments: [SpoolSegment] = []
    private var spool: SpoolID
    private var nextNumber: UInt64 = 1
    private var nextSequence: UInt64 = 1
    private var acknowledged: [SpoolID: UInt64] = [:]
    /// The newest file is not of this spool and takes no more.
    private var isSealed = true
    /// What a failed append left, to be cut off before the next: a file, and the size that it should have.
    private var leftover: (path: String, size: Int)?
    private var cache: (sequence: UInt64, batches: [Roost_V1_UsageBatch])?

    /// Batches that were removed before the manager had them, since this process began.
    public private(set) var batchesLost: UInt64 = 0

    /// Opens the spool in a folder, made if need be.
    ///
    /// - Returns: the spool, the state of the sampler at the last batch, and what a person should know.
    public static func open(
        folder: String, files: any FileSystem = HostFileSystem(), budgetBytes: Int = 256 << 20,
        segmentBytes: Int = 256 << 10, newID: SpoolID
    ) throws(SpoolError) -> (spool: UsageSpool, state: Sampler.State?, notices: [SpoolNotice]) {
        var spool = UsageSpool(
            folder: folder, files: files, budget: budgetBytes, segmentBytes: min(segmentBytes, budgetBytes / 4),
            spool: newID)
        var notices: [SpoolNotice] = []
        do {
            let state = try spool.load(&notices)
            return (spool, state, notices)
        } catch {
            throw .files(error)
        }
    }

    private init(folder: String, files: any FileSystem, budget: Int, segmentBytes: Int, spool: SpoolID) {
        self.folder = folder
        self.files = files
        self.budget = budget
        self.segmentBytes = segmentBytes
        self.spool = spool
    }

    public var id: SpoolID { spool }
    public var bytes: Int { segments.reduce(0) { $0 + $1.bytes } }

    private mutating func load(_ notices: inout [SpoolNotice]) throws(FileProblem) -> Sampler.State? {
        try files.makeFolder(folder, mode: 0o700)
        let names = try files.list(folder).filter { SpoolSegment.sequence(fileName: $0) != nil }
        var lastState: ArraySlice<UInt8>?
        var isDamaged = false
        for name in names {
            guard let sequence = SpoolSegment.sequence(fileName: name),
                let bytes = try files.read(path(name), limit: 2 * SpoolSegment.recordLimit)
            else { continue }
            nextSequence = sequence + 1
            let isLast = name == names.last
            guard let contents = SpoolSegment.parse(bytes, sequence: sequence) else {
                // A file that was only begun holds nothing that anybody has seen; another is kept for a person.
                isDamaged = isDamaged || !isLast
                notices.append(isLast ? .tornTailRemoved(file: path(name)) : .damaged(file: path(name)))
                if isLast {
                    try files.remove(path(name))
                } else {
                    try files.rename(path(name), to: path(name) + ".damaged")
                }
                continue
            }
            segments.append(contents.segment)
            lastState = contents.lastState ?? lastState
            let isTorn = contents.damage == .tornTail && isLast
            if isTorn {
                try files.truncate(path(name), to: contents.segment.bytes)
                notices.append(.tornTailRemoved(file: path(name)))
            } else if contents.damage != .none {
                isDamaged = true
                notices.append(.damaged(file: path(name)))
            }
        }
        try settle()
        if let last = segments.last, !isDamaged {
            spool = last.spool
            nextNumber = last.nextNumber
            isSealed = last.count == 0
        }
        return lastState.flatMap { try? JSONDecoder().decode(Sampler.State.self, from: Data($0)) }
    }

    /// The process before this one may have died in a call: what it left whole is not on the disk for that reason alone, and
    /// what is sent from here must never be gone after the power was.
    private func settle() throws(FileProblem) {
        guard let last = segments.last else { return }
        try files.append([], to: path(last.fileName), mode: 0o600)
        try files.syncFolder(folder)
    }

    /// Keeps a batch. When this returns, it is on the disk; when it throws, it is as if nothing was done.
    public mutating func append(
        _ samples: [Roost_V1_UsageSample], state: Sampler.State, _ notices: inout [SpoolNotice]
    ) throws(SpoolError) {
        let batch = Roost_V1_UsageBatch.with {
            $0.spoolID = spool.bytes
            $0.number = nextNumber
            $0.samples = samples
        }
        let record: [UInt8]
        do {
            record = SpoolSegment.record(try batch.serializedBytes(), state: Array(try JSONEncoder().encode(state)))
        } catch {
            throw .unencodable("\(error)")
        }
        do {
            try removeLeftover()
            if let last = segments.last, !isSealed, last.bytes + record.count <= segmentBytes {
                try extend(last, by: record)
            } else {
                try begin(with: record)
            }
        } catch {
            throw .files(error)
        }
        nextNumber += 1
        keepBudget(&notices)
    }

    private mutating func extend(_ last: SpoolSegment, by record: [UInt8]) throws(FileProblem) {
        let name = path(last.fileName)
        leftover = (name, last.bytes)
        do {
            try files.append(record, to: name, mode: 0o600)
        } catch {
            try? removeLeftover()
            throw error
        }
        leftover = nil
        segments[segments.count - 1].bytes += record.count
        segments[segments.count - 1].count += 1
        if cache?.sequence == last.sequence { cache = nil }
    }

    /// The record of an append that failed may be there in part or whole. Its number and its samples come again, so it
    /// must be gone before.
    private mutating func removeLeftover() throws(FileProblem) {
        guard let (path, size) = leftover else { return }
        if size == 0 { try files.remove(path) } else { try files.truncate(path, to: size) }
        leftover = nil
    }

    private mutating func begin(with record: [UInt8]) throws(FileProblem) {
        var segment = SpoolSegment(
            sequence: nextSequence, spool: spool, firstNumber: nextNumber, count: 1, bytes: 0)
        let name = path(segment.fileName)
        let bytes = SpoolSegment.header(spool: spool, firstNumber: nextNumber) + record
        leftover = (name, 0)
        do {
            try files.write(bytes, to: name, mode: 0o600)
            try files.syncFolder(folder)
        } catch {
            try? removeLeftover()
            throw error
        }
        leftover = nil
        nextSequence += 1
        segment.bytes = bytes.count
        segments.append(segment)
        isSealed = false
        removeAcknowledged()
    }

    private mutating func keepBudget(_ notices: inout [SpoolNotice]) {
        var lost: UInt64 = 0
        while bytes > budget, segments.count > 1 {
            let oldest = segments[0]
            guard (try? files.remove(path(oldest.fileName))) != nil else { break }
            let known = acknowledged[oldest.spool] ?? 0
            lost += oldest.nextNumber - min(oldest.nextNumber, max(oldest.firstNumber, known + 1))
            segments.removeFirst()
        }
        guard lost > 0 else { return }
        batchesLost += lost
        notices.append(.overBudget(batchesLost: lost))
    }

    /// Batches that the manager has not acknowledged, behind a position, in order.
    public mutating func batches(
        after position: SpoolPosition?, limit: Int
    ) throws(SpoolError) -> [(position: SpoolPosition, batch: Roost_V1_UsageBatch)] {
        var found: [(position: SpoolPosition, batch: Roost_V1_UsageBatch)] = []
        // What the manager may wait for before the batch that is next.
        var before: (spool: SpoolID, number: UInt64)?
        for segment in segments where segment.sequence >= position?.segment ?? 0 {
            let known = acknowledged[segment.spool] ?? 0
            if segment.nextNumber <= known + 1 { continue }
            for (index, batch) in try contents(of: segment).enumerated() {
                if batch.number <= known { continue }
                let follows = before.flatMap { $0.spool == segment.spool ? $0.number : nil } ?? 0
                before = (segment.spool, batch.number)
                let here = SpoolPosition(segment: segment.sequence, index: index)
                if let position, here <= position { continue }
                if found.count >= limit { return found }
                var batch = batch
                batch.follows = follows
                found.append((here, batch))
            }
        }
        return found
    }

    private mutating func contents(of segment: SpoolSegment) throws(SpoolError) -> [Roost_V1_UsageBatch] {
        if let cache, cache.sequence == segment.sequence { return cache.batches }
        let bytes: [UInt8]
        do {
            bytes = try files.read(path(segment.fileName), limit: 2 * SpoolSegment.recordLimit) ?? []
        } catch {
            throw .files(error)
        }
        let parsed = SpoolSegment.parse(bytes, sequence: segment.sequence)
        let batches = (parsed?.batches ?? []).prefix(Int(clamping: segment.count)).compactMap {
            try? Roost_V1_UsageBatch(serializedBytes: Array($0))
        }
        cache = (segment.sequence, batches)
        return batches
    }

    /// The manager has committed everything up to and including this number.
    public mutating func acknowledge(_ spool: SpoolID, upTo number: UInt64) {
        // An acknowledgement of what was never given out says nothing.
        guard spool != self.spool || number < nextNumber else { return }
        acknowledged[spool] = max(acknowledged[spool] ?? 0, number)
        removeAcknowledged()
    }

    /// The newest file stays: it holds the next number and the sampler's state.
    private mutating func removeAcknowledged() {
        while segments.count > 1, let oldest = segments.first,
            oldest.nextNumber <= (acknowledged[oldest.spool] ?? 0) + 1
        {
            // What cannot be removed now is tried again with the next acknowledgement.
            guard (try? files.remove(path(oldest.fileName))) != nil else { return }
            segments.removeFirst()
        }
        let present = Set(segments.map(\.spool))
        acknowledged = acknowledged.filter { present.contains($0.key) || $0.key == spool }
    }

    private func path(_ name: String) -> String { folder + "/" + name }
}
