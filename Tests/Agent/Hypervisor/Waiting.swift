/// Something did not come about in time.
struct Expired: Error, CustomStringConvertible {
    var description: String
}

/// Waits for a level, with a limit.
func eventually(
    _ what: String, within limit: Duration = .seconds(120), _ holds: () async throws -> Bool
) async throws {
    let end = ContinuousClock.now + limit
    while try await !holds() {
        guard ContinuousClock.now < end else { throw Expired(description: "not within \(limit): \(what)") }
        try await Task.sleep(for: .milliseconds(20))
    }
}
