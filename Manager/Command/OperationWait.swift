import RoostClient

/// Waits for operations until a common deadline and shows how they get on.
struct OperationWait {
    let client: APIClient
    let printer: Printer
    private let deadline: ContinuousClock.Instant
    private let seconds: Int

    init(_ client: APIClient, _ printer: Printer, seconds: Int) {
        self.client = client
        self.printer = printer
        self.seconds = seconds
        deadline = .now + .seconds(seconds)
    }

    /// The operation as it ended, well or not; a line of progress meanwhile.
    func end(of id: String) async throws -> JSON {
        try await end(of: id, each: printer.showsProgress ? 1 : 30) { printer.progress(Self.line($0)) }
    }

    /// The operation as it ended, well or not. `show` gets it while it runs, each so many seconds: where somebody
    /// watches, they see each step; elsewhere one request may wait longer.
    func end(of id: String, each seconds: Int, show: (JSON) -> Void) async throws -> JSON {
        defer { printer.endProgress() }
        do {
            return try await client.roost.endOfOperation(id, timeout: deadline - .now, each: seconds) { update in
                switch update {
                case .running(let operation): show(operation)
                case .unreachable: printer.progress("waiting for the manager at \(client.endpoint)")
                }
            }
        } catch ClientError.stillRunning {
            // The time was for all of them together.
            throw Failure(.stillRunning(operation: id, after: .seconds(self.seconds)))
        } catch let error as ClientError {
            throw Failure(error)
        }
    }

    /// The operation once it has succeeded; a failed one is thrown.
    @discardableResult
    func success(of id: String) async throws -> JSON {
        let operation = try await end(of: id)
        guard !Self.hasFailed(operation) else { throw Self.failure(operation) }
        return operation
    }

    /// Whether it ended otherwise than it should.
    static func hasFailed(_ operation: JSON) -> Bool { ["failed", "cancelled"].contains(operation["status"].text) }

    static func failure(_ operation: JSON) -> Failure {
        Failure(operation["error"]["detail"].text ?? "operation \(operation["id"].text ?? "?") failed")
    }

    static func line(_ operation: JSON) -> String {
        let step = operation["steps"].items.last
        let detail = step.flatMap { $0["detail"].text.flatMap { $0.isEmpty ? nil : $0 } ?? $0["name"].text } ?? ""
        let percent = operation["progress"].integer.map { " \(Amount.bar(Double($0) / 100)) \($0) %" } ?? ""
        return "\(operation["kind"].text ?? "") \(operation["resource"]["name"].text ?? "")\(percent)  \(detail)"
    }
}
