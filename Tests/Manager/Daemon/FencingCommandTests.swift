import Foundation
import ManagerLifecycle
import ProtocolModel
import Testing

@testable import ManagerDaemon

@Suite("The command that fences hosts")
struct FencingCommandTests {
    private let order = FencingOrder(
        node: NodeID("01900000-0000-7000-8000-000000000001")!, name: "cn1", address: "192.0.2.7", attempt: 1,
        since: Timestamp(milliseconds: 1))

    /// Runs a program of the test's, which no shell of the product's starts.
    private func run(
        _ script: String, _ arguments: [String] = [], limit: Duration = .seconds(120)
    ) async throws -> FencingOutcome {
        let path = NSTemporaryDirectory() + "roost-fence-\(UUID())"
        try Data("#!/bin/sh\n\(script)\n".utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
        let command = try #require(
            FencingCommand(arguments: [path] + arguments, after: .zero, timeLimit: limit)
        ).checked()
        return await command.run(order)
    }

    @Test("ends with 0: fenced; otherwise what it says is told")
    func outcomes() async throws {
        #expect(try await run("exit 0") == .fenced)
        #expect(try await run("head -c 200000 /dev/zero | tr '\\0' x >&2; exit 0") == .fenced, "however much it says")
        guard case .failed(let reason) = try await run("echo 'no route to 192.0.2.7' >&2; exit 3") else {
            Issue.record("it failed")
            return
        }
        #expect(reason.contains("no route to 192.0.2.7") && reason.contains("3"), "\(reason)")
    }

    @Test("arguments are given one by one, with the host in place of the placeholders, and nothing of the environment")
    func arguments() async throws {
        let check = """
            [ "$1" = 'cn1 x' ] && [ "$2" = '192.0.2.7' ] && [ "$3" = '$(reboot);' ] && [ "$#" = 3 ] && [ -z "$HOME" ]
            """
        #expect(try await run(check, ["{node} x", "{address}", "$(reboot);"]) == .fenced)
        #expect(FencingCommand.filled("{id}-{node}", for: order) == "01900000-0000-7000-8000-000000000001-cn1")
    }

    @Test("one that takes longer than its limit is ended, and has not fenced")
    func limit() async throws {
        let outcome = try await run("exec sleep 600", limit: .milliseconds(200))
        guard case .failed(let reason) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(reason.contains("longer"))
    }

    @Test("none where nothing is set; a program that cannot be run is refused at the start")
    func settings() throws {
        #expect(FencingCommand(arguments: [], after: .zero, timeLimit: .seconds(1)) == nil)
        for program in ["fence", "/nonexistent/fence"] {
            let command = FencingCommand(arguments: [program], after: .zero, timeLimit: .seconds(1))
            #expect(throws: SiteError.self) { _ = try command?.checked() }
        }
    }
}
