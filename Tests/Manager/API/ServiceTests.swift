import Crypto
import Foundation
import Logging
import ManagerModel
import NIOCore
import NIOPosix
import NIOSSL
import ProtocolModel
import ServiceLifecycle
import Synchronization
import Testing

@testable import ManagerAPI

/// The service as the daemon runs it: TLS, and a stop that no client can hold up.
@Suite("API service")
struct ServiceTests {
    /// A key and a certificate for `localhost` made for these tests alone, by openssl; valid until 2126.
    static let keyPEM = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg5/Jt1uR7wzjR88bi
        sJYLYseam+41VYTDYk6FKMyMD3KhRANCAAReDnKc2v8g6KRVALCMKHAtMoQfwVJY
        BIO2jrChudCp5V81JRaUorp4a2aaElraHhSe6a9HcPG9Qj/tso7wMTOV
        -----END PRIVATE KEY-----
        """
    static let certificatePEM = """
        -----BEGIN CERTIFICATE-----
        MIIBlTCCATugAwIBAgIUOCvPHQBgAEZR5e4Tag+qv6mOorUwCgYIKoZIzj0EAwIw
        FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTA4MjkzNFoYDzIxMjYxMDI4
        MDgyOTM0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
        PQMBBwNCAAReDnKc2v8g6KRVALCMKHAtMoQfwVJYBIO2jrChudCp5V81JRaUorp4
        a2aaElraHhSe6a9HcPG9Qj/tso7wMTOVo2kwZzAdBgNVHQ4EFgQUy+Iz8+/TxLVY
        LBU/E/5NhvcpYCUwHwYDVR0jBBgwFoAUy+Iz8+/TxLVYLBU/E/5NhvcpYCUwDwYD
        VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
        SAAwRQIhAPqhb1oSxlz0aBqNSjHJvsM+ZsQqJnYk59S0wFpIuLpGAiASx5byduIu
        cOMgkHqjVVFxgX8AcxlTF8rC3ao5AhZDNg==
        -----END CERTIFICATE-----
        """

    @Test("it serves TLS 1.2 and 1.3, refuses plain text and older TLS, and stops although a stream is open")
    func life() async throws {
        let site = try await TestSite()
        let (ports, told) = AsyncStream<Int>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let service = try APIService(
            configuration: .init(
                address: "127.0.0.1", port: 0, tls: .init(chainPEM: Self.certificatePEM, keyPEM: Self.keyPEM),
                shutdownGrace: .milliseconds(200)),
            services: site.services, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            onListening: { told.yield($0) })
        let group = ServiceGroup(
            configuration: .init(services: [service], logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }))
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            var iterator = ports.makeAsyncIterator()
            let port = try #require(await iterator.next())
            for version in [TLSVersion.tlsv12, .tlsv13] {
                let answer = try await exchange(
                    port, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", version)
                #expect(answer.contains("200 OK"), "\(version)")
                #expect(answer.contains("{\"status\":\"ok\"}"))
            }
            await #expect(throws: (any Error).self) {
                try await exchange(port, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", .tlsv11)
            }
            let plain = try LiveTests.Connection(port: port)
            plain.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(!plain.read(until: "ok").contains("200 OK"))

            // A stream that its client would keep for ever.
            async let stream = exchange(
                port,
                "GET /v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
                    + "Authorization: Bearer \(site.token("ann"))\r\n\r\n", .tlsv13)
            while site.services.streams.count == 0 { await Task.yield() }
            let start = SystemTime().uptime
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
            // As opposed to never: the stream has no end of its own.
            #expect(SystemTime().uptime - start < .seconds(60))
            _ = try? await stream
            #expect(site.services.streams.count == 0)
        }
    }

    /// Sends a request over TLS of one version and reads until the server closes.
    private func exchange(_ port: Int, _ request: String, _ version: TLSVersion) async throws -> String {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .none
        configuration.minimumTLSVersion = version
        configuration.maximumTLSVersion = version
        let context = try NIOSSLContext(configuration: configuration)
        let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = try NIOSSLClientHandler(context: context, serverHostname: "localhost")
                    try channel.pipeline.syncOperations.addHandler(handler)
                    return try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(string: request))
            var text = ""
            do {
                for try await buffer in inbound { text += String(buffer: buffer) }
            } catch {
                // A peer that closes without saying so first is told by what it sent.
                if text.isEmpty { throw error }
            }
            return text
        }
    }
}
