import Foundation
public import Logging
import Synchronization

/// Writes each event as one line in one `write`, so that lines of several threads never mix.
public struct LogfmtHandler: LogHandler {
    /// Where lines go; tests pass their own.
    public typealias Sink = @Sendable ([UInt8]) -> Void

    public var metadata: Logger.Metadata = [:]
    public var metadataProvider: Logger.MetadataProvider?
    /// A level set on one logger; without it the process's level counts.
    private var ownLevel: Logger.Level?
    private let label: String
    private let level: LogLevel
    private let sink: Sink
    private let clock: @Sendable () -> String

    public init(
        label: String, level: LogLevel, sink: @escaping Sink = standardError,
        clock: @escaping @Sendable () -> String = rfc3339Now
    ) {
        self.label = label
        self.level = level
        self.sink = sink
        self.clock = clock
    }

    public var logLevel: Logger.Level {
        get { ownLevel ?? level.current }
        set { ownLevel = newValue }
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var merged = metadata
        if let provider = metadataProvider { merged.merge(provider.get()) { _, new in new } }
        if let own = event.metadata { merged.merge(own) { _, new in new } }
        if let error = event.error { merged["error"] = "\(error)" }
        sink(
            LogLine(
                time: clock(), level: event.level, label: label, message: event.message.description, metadata: merged
            ).text)
    }
}

/// The level of the whole process; it can change while the process runs.
public final class LogLevel: Sendable {
    private let value: Mutex<Logger.Level>

    public init(_ level: Logger.Level) { value = Mutex(level) }

    public var current: Logger.Level {
        get { value.withLock { $0 } }
        set { value.withLock { $0 = newValue } }
    }
}

/// Writes bytes to standard error, whole or, where the reader is gone, not at all.
@Sendable public func standardError(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { buffer in
        var rest = buffer[...]
        while !rest.isEmpty {
            let count = write(STDERR_FILENO, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
            if count > 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR {
                return
            }
        }
    }
}

/// The time in UTC with milliseconds, as in the API (RFC 3339).
@Sendable public func rfc3339Now() -> String {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    var parts = tm()
    var seconds = now.tv_sec
    gmtime_r(&seconds, &parts)
    func pad(_ value: Int, _ width: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
    }
    let date = "\(pad(Int(parts.tm_year) + 1900, 4))-\(pad(Int(parts.tm_mon) + 1, 2))-\(pad(Int(parts.tm_mday), 2))"
    let time = "\(pad(Int(parts.tm_hour), 2)):\(pad(Int(parts.tm_min), 2)):\(pad(Int(parts.tm_sec), 2))"
    return "\(date)T\(time).\(pad(now.tv_nsec / 1_000_000, 3))Z"
}

/// Makes every `Logger` of the process write logfmt lines to standard error. To be called once, at start.
///
/// - Returns: the level, for a process that changes it while it runs.
@discardableResult
public func bootstrapLogging(level: Logger.Level) -> LogLevel {
    let shared = LogLevel(level)
    LoggingSystem.bootstrap { label in LogfmtHandler(label: label, level: shared) }
    return shared
}
