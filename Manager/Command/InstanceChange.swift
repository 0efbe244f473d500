import RoostClient

/// Asks for a change of several instances, waits if wanted, and shows them as they then are. What fails for one does
/// not stop the others.
struct InstanceChange {
    /// What was done when all went well: "started".
    let verb: String
    let references: [String]
    let waiting: InstanceCommand.WaitOptions
    let site: SiteOptions

    func run(_ request: (APIClient, String) async throws -> JSON) async throws {
        guard !references.isEmpty else { return }
        try await site.withClient { client, printer in
            var changed: [JSON] = []
            var failures: [Failure] = []
            for reference in references {
                do {
                    changed.append(try await request(client, try path("instances", reference)))
                } catch let failure as Failure {
                    failures.append(references.count > 1 ? failure.of(reference) : failure)
                }
            }
            try await finish(changed, failures, client, printer)
        }
    }

    func finish(_ changed: [JSON], _ earlier: [Failure], _ client: APIClient, _ printer: Printer) async throws {
        var failures = earlier
        var shown = changed
        if waiting.wait {
            shown = []
            let operations = OperationWait(client, printer, seconds: waiting.waitTimeout)
            for (index, instance) in changed.enumerated() {
                do {
                    try await wait(for: instance, operations, done: index, failed: failures.count, of: changed.count)
                } catch let failure as Failure {
                    failures.append(failure.of(instance["name"].text ?? "instance"))
                }
                shown.append(await present(instance, client))
            }
            if changed.count > 1 {
                printer.note("\(changed.count + earlier.count - failures.count) \(verb), \(failures.count) failed.")
            }
        }
        if !shown.isEmpty { printer.list(shown.count == 1 ? shown[0] : .list(shown), InstanceCommand.columns) }
        if !failures.isEmpty { throw Failure.together(failures) }
    }

    private func wait(
        for instance: JSON, _ operations: OperationWait, done: Int, failed: Int, of count: Int
    ) async throws {
        guard let id = instance["operation_id"].text else { return }
        let printer = operations.printer
        let operation = try await operations.end(of: id, each: printer.showsProgress ? 1 : 30) { operation in
            let line = OperationWait.line(operation)
            printer.progress(count == 1 ? line : "\(done) of \(count), \(failed) failed; \(line)")
        }
        guard operation["status"].text != "failed" else { throw OperationWait.failure(operation) }
    }

    /// As the instance is now; a deleted one may be unknown by now.
    private func present(_ instance: JSON, _ client: APIClient) async -> JSON {
        guard let id = instance["id"].text, let now = try? await client.get("/v1/instances/\(Address.escaped(id))")
        else {
            return verb == "deleted" ? instance.setting("status", to: .string("DELETED")) : instance
        }
        return now
    }
}
