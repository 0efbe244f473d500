import Foundation

/// Waits for operations and shows how they get on.
struct OperationWait {
    let client: APIClient
    var seconds: Int = 3600

    /// Ends with the operation; a failed one is thrown where `throwing`.
    @discardableResult
    func callAsFunction(_ id: String, throwing: Bool = true, show: (JSON) -> Void = Self.line) async throws -> JSON {
        let end = Date().addingTimeInterval(Double(seconds))
        defer { Output.endProgress() }
        while true {
            let left = Int(end.timeIntervalSinceNow)
            guard left > 0 else {
                throw Failure("operation \(id) still runs after \(seconds) s; it goes on without this command")
            }
            let operation = try await client.get(
                "/v1/operations/\(id)", ["wait": "\(min(left, Output.showsProgress ? 1 : 30))"])
            switch operation["status"].text {
            case "running": show(operation)
            case "failed" where throwing:
                throw Failure(operation["error"]["detail"].text?.printable ?? "the operation failed")
            default: return operation
            }
        }
    }

    static func line(_ operation: JSON) {
        let step = operation["steps"].items.last
        Output.progress(
            "\(operation["kind"].shown) \(operation["resource"]["name"].shown): \(operation["progress"].shown) % \(step?["detail"].text ?? "")"
        )
    }
}
