/// How an operation that is waited for gets on.
package enum OperationUpdate {
    case running(JSON)
    case unreachable(ClientError)
}

/// An operation that did not end as it should.
public struct OperationFailure: Error, Sendable, CustomStringConvertible {
    /// As it ended.
    public var operation: OperationRecord

    /// Why, for people.
    public var description: String {
        operation.error?.detail ?? "operation \(operation.id) \(operation.status.rawValue)"
    }
}

extension Resources where Item == OperationRecord {
    /// Waits until an operation has ended, and returns it as it ended.
    ///
    /// - Parameters:
    ///   - timeout: ``ClientError/stillRunning(operation:after:)`` is thrown thereafter; the operation goes on.
    ///   - progress: gets the operation while it runs, about each second.
    /// - Throws: ``OperationFailure`` where it failed or was cancelled.
    @discardableResult
    public func wait(
        for id: String, timeout: Duration = .seconds(3600), progress: (OperationRecord) -> Void = { _ in }
    ) async throws -> OperationRecord {
        let end = try await client.endOfOperation(id, timeout: timeout, each: 1) { update in
            guard case .running(let document) = update, let operation: OperationRecord = try? Coding.decode(document)
            else {
                return
            }
            progress(operation)
        }
        let operation: OperationRecord = try Coding.decode(end)
        guard operation.status == .succeeded else { throw OperationFailure(operation: operation) }
        return operation
    }
}

extension Coding {
    static func decode<Value: Decodable>(_ document: JSON) throws(ClientError) -> Value {
        try decode(Array(JSONWriter.compact(document).utf8))
    }
}

extension RoostClient {
    /// The manager may be restarted meanwhile; longer than this it is not waited for.
    package static let patienceWithoutManager = Duration.seconds(60)

    /// The operation as it ended, well or not.
    ///
    /// - Parameter each: how many seconds one request may wait. Where somebody watches, they see each step; elsewhere one
    ///   request may wait longer.
    package func endOfOperation(
        _ id: String, timeout: Duration, each seconds: Int, show: (OperationUpdate) -> Void
    ) async throws -> JSON {
        let deadline = ContinuousClock.now + timeout
        let path = try Address.path("operations", id)
        var unreachableSince: ContinuousClock.Instant?
        while true {
            let left = Int((deadline - .now).components.seconds)
            guard left > 0 else { throw ClientError.stillRunning(operation: id, after: timeout) }
            do {
                let wait = "\(min(left, seconds))"
                let operation = try await send(Request(.get, path + Address.query(["wait": wait]))).json()
                unreachableSince = nil
                guard operation["status"].text == "running" else { return operation }
                show(.running(operation))
            } catch let error as ClientError where error.isUnreachable {
                let since = unreachableSince ?? .now
                unreachableSince = since
                guard .now - since < Self.patienceWithoutManager else { throw error }
                show(.unreachable(error))
            }
        }
    }
}
