import Glibc
import ProcessFiles
import ProcessThreads

/// A raw image while a converter writes it, read close behind by others.
///
/// `qemu-img convert` writes from the beginning to the end unless `-W` permits otherwise (its manual), so where there is data
/// behind a place, all before that place is as it will stay. Holes are no sign of anything before the end.
final class GrowingFile: Sendable {
    /// What a converter may still be at, behind the first data that is seen: more than one of its writes.
    private static let marginBytes: Int64 = 4 << 20
    /// Waiting readers look again so often: a fraction of the time that a chunk takes.
    private static let interval = Duration.milliseconds(3)

    private enum End { case whole, failed }
    private struct State {
        var end: End?
        var file: OpenFile?
        /// All before it is final.
        var finalBytes: Int64 = 0
    }

    private let path: String
    /// Whether holes can be told from data where the file lies. Otherwise all waits for the end.
    private let showsHoles: Bool
    /// Whoever waits does this first: a test writes on.
    private let beforeWaiting: @Sendable () -> Void
    private let state: Monitor<State>

    /// A file that is not there yet. `showsHoles`: see `Files.showsHoles(in:)`.
    init(path: String, showsHoles: Bool, beforeWaiting: @escaping @Sendable () -> Void = {}) {
        self.path = path
        self.showsHoles = showsHoles
        self.beforeWaiting = beforeWaiting
        self.state = Monitor(State())
    }

    /// One that nobody writes.
    init(whole file: OpenFile) {
        self.path = file.path
        self.showsHoles = false
        self.beforeWaiting = {}
        self.state = Monitor(State(end: .whole, file: file))
    }

    /// Nothing is written any more.
    func end(isWhole: Bool) { state.update { $0.end = isWhole ? .whole : .failed } }

    /// The file and its size, once they are known; `nil` where the converter failed before.
    func opened() throws(ImageError) -> (file: OpenFile, bytes: Int64)? {
        while true {
            let end = state.withLock { $0.end }
            if end == .failed { return nil }
            if end == .whole || showsHoles, let file = try open(), case let bytes = try file.size(),
                end == .whole || bytes > 0
            {
                return (file, bytes)
            }
            guard end == nil else { throw .file(path: path, reason: "the converter left no plain file") }
            waitForMore()
        }
    }

    /// Waits until all before `offset` is final; false where the converter failed before it was.
    func waits(for offset: Int64) -> Bool {
        while true {
            let (known, end, file) = state.withLock { ($0.finalBytes, $0.end, $0.file) }
            switch end {
            case .whole: return true
            case .failed: return false
            case nil: break
            }
            if known >= offset { return true }
            if showsHoles, let data = file?.data(from: offset + Self.marginBytes) {
                state.withLock { $0.finalBytes = max($0.finalBytes, data - Self.marginBytes) }
                return true
            }
            waitForMore()
        }
    }

    private func waitForMore() {
        beforeWaiting()
        _ = state.wait(upTo: Self.interval) { $0.end == nil ? nil : true }
    }

    private func open() throws(ImageError) -> OpenFile? {
        if let file = state.withLock({ $0.file }) { return file }
        guard access(path, F_OK) == 0 else { return nil }
        // The converter owns its folder: a link or a pipe there would have this process read what that one may not.
        let file = try OpenFile(path: path, flags: O_RDONLY | O_NONBLOCK)
        guard try file.isPlain() else { throw .file(path: path, reason: "the converter left no plain file") }
        state.withLock { $0.file = file }
        return file
    }
}

extension Files {
    /// Whether the file system tells holes from data: some answer that all of a file is data.
    static func showsHoles(in folder: String) throws(ImageError) -> Bool {
        let path = folder + "/holes"
        defer { remove(path) }
        let file = try OpenFile(path: path, flags: O_RDWR | O_CREAT | O_EXCL)
        try file.truncate(to: 1 << 20)
        return file.data(from: 0) == nil && file.isHole(at: 0, count: 1 << 20)
    }
}
