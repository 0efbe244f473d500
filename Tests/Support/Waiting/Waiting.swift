/// Something did not come about in time.
public struct Expired: Error, CustomStringConvertible {
    public let description: String

    public init(description: String) { self.description = description }
}

/// Waits for a level, with a limit that is far beyond what it takes: nothing may depend on how long that is.
///
/// - Throws: ``Expired``, and what the condition throws.
public func eventually(
    _ what: String = "", within limit: Duration = .seconds(120), file: String = #fileID, line: Int = #line,
    _ holds: () async throws -> Bool
) async throws {
    let end = ContinuousClock.now + limit
    while try await !holds() {
        guard ContinuousClock.now < end else {
            throw Expired(description: "\(file):\(line): not within \(limit): \(what)")
        }
        try await Task.sleep(for: .milliseconds(5))
    }
}
