import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import Testing

/// Rounds of strangers who connect, talk nonsense and hang up, on every port, against the built program: what it holds open and
/// in memory stays level (SEC-15).
@Suite("The manager under abuse", .timeLimit(.minutes(5)))
struct SoakTests {
    /// What strangers send, and whether they wait for an answer before they hang up.
    private static let nonsense: [(name: String, bytes: [UInt8], waits: Bool)] = [
        ("nothing", [], false),
        ("a frame that is too long", [0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0], true),
        ("half a frame", [0, 0, 1, 0, 1, 0, 0, 0, 7, 7, 7], false),
        ("a frame of no known type", [0, 0, 0, 1, 0xEE, 0, 0, 0, 1], true),
        (
            "half a request", Array("POST /v1/instances HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{".utf8),
            false
        ),
        (
            "a request of nobody",
            Array("GET /v1/nodes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a.b.c\r\n\r\n".utf8), true
        ),
        ("no request", Array("\u{0}\u{1}\u{2} / HTTP/9\r\n\r\n".utf8), true),
        ("a long header", Array(("GET / HTTP/1.1\r\nX: " + String(repeating: "x", count: 40_000)).utf8), true),
    ]

    @Test("descriptors, threads and memory are level over rounds of broken connections")
    func level() async throws {
        let manager = try await ManagerProcess.start(logLevel: "error")
        defer { manager.remove() }
        // The first rounds fill caches and pools.
        for _ in 0..<4 { try await Self.round(against: manager) }
        let before = try await Self.quiet(manager)
        for _ in 0..<12 { try await Self.round(against: manager) }
        let after = try await Self.quiet(manager)
        #expect(after.descriptors <= before.descriptors, "\(before) became \(after)")
        #expect(after.threads <= before.threads, "\(before) became \(after)")
        // Twelve rounds are some 750 connections: less than 8 KiB of each may stay, which a leaked TLS session exceeds.
        #expect(after.memoryBytes - before.memoryBytes < 6 << 20, "\(before) became \(after)")
        #expect(try await manager.send("GET", "/readyz").status == 200)
        #expect(try await manager.stop().status == 0)
    }

    private static func round(against manager: ManagerProcess) async throws {
        let tls = try context()
        try await withThrowingDiscardingTaskGroup { group in
            for port in manager.ports {
                for (_, bytes, waits) in nonsense {
                    for isEncrypted in [true, false, true] {
                        group.addTask { await say(bytes, to: port, isEncrypted ? tls : nil, waits: waits) }
                    }
                }
            }
        }
    }

    private static func context() throws -> NIOSSLContext {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.certificateVerification = .none
        tls.applicationProtocols = ["roost/1", "http/1.1"]
        return try NIOSSLContext(configuration: tls)
    }

    /// How the other end takes it is its own affair, as long as it lives and forgets.
    private static func say(_ bytes: [UInt8], to port: Int, _ tls: NIOSSLContext?, waits: Bool) async {
        let channel = try? await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls {
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLClientHandler(context: tls, serverHostname: nil))
                    }
                    return try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        guard let channel else { return }
        let transport = channel.channel
        let limit = transport.eventLoop.scheduleTask(in: .milliseconds(500)) { transport.close(promise: nil) }
        defer { limit.cancel() }
        try? await channel.executeThenClose { inbound, outbound in
            if !bytes.isEmpty { try await outbound.write(ByteBuffer(bytes: bytes)) }
            if waits { for try await _ in inbound {} }
        }
    }

    /// What the process holds once it has let go of what was hung up on: the least that is seen while it settles.
    private static func quiet(_ manager: ManagerProcess) async throws -> ManagerProcess.Holdings {
        var least = try manager.holdings()
        for _ in 0..<60 {
            try await Task.sleep(for: .milliseconds(100))
            let now = try manager.holdings()
            least.descriptors = min(least.descriptors, now.descriptors)
            least.threads = min(least.threads, now.threads)
            least.memoryBytes = min(least.memoryBytes, now.memoryBytes)
        }
        return least
    }
}
