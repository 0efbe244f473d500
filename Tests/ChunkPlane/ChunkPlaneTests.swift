import Foundation
import Glibc
import Logging
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import ProtocolWire
import Synchronization
import Testing
import TestsSupportWaiting

@testable import ChunkPlane

/// Server and client over loopback with real certificates. Serialised: each test has threads and sockets of its own.
@Suite(.serialized, .timeLimit(.minutes(2))) struct ChunkPlaneTests {
    let site: TestSite
    let node = NodeID.generate(at: Timestamp(milliseconds: 7))
    let image = ImageID.generate(at: Timestamp(milliseconds: 8))
    let store: MemoryStore

    init() throws {
        site = try TestSite()
        var noise = [UInt8](repeating: 0, count: Limits.chunkBytes)
        for index in stride(from: 0, to: noise.count, by: 1024) {
            noise[index] = UInt8(truncatingIfNeeded: index >> 10)
        }
        let random = try #require(FileHandle(forReadingAtPath: "/dev/urandom"))
        let tail = Array(try #require(try random.read(upToCount: 300_000)))
        store = try MemoryStore(image: image, chunks: [noise, [UInt8](repeating: 9, count: Limits.chunkBytes), tail])
    }

    private func start(
        verify: PeerVerifier? = nil, authorise: @escaping ChunkServer.Authorise = { _, _ in true },
        configured: (inout ChunkServer.Configuration) -> Void = { _ in }
    ) throws -> ChunkServer {
        var configuration = ChunkServer.Configuration(address: "127.0.0.1:0", credentials: try site.manager())
        configured(&configuration)
        let server = try ChunkServer(
            configuration: configuration, source: store, authorise: authorise, verify: verify ?? site.verifier(),
            logger: Logger(label: "test"))
        try server.start()
        return server
    }

    private func connect(
        _ server: ChunkServer, credentials: TLSCredentials? = nil, expecting: NodeID? = nil,
        counters: TransferCounters = TransferCounters(), wait: Duration = .milliseconds(10),
        manifestWait: Duration = .seconds(2), watch: @escaping ChunkClient.Watch = { _ in }
    ) throws -> ChunkClient {
        var configuration = ChunkClient.Configuration()
        configuration.wait = wait
        configuration.manifestWait = manifestWait
        let context = try TLSContext(side: .client, credentials: try credentials ?? site.node(node))
        return try ChunkClient(
            source: ChunkSource(node: expecting, address: "127.0.0.1:\(server.port)"), context: context,
            verify: site.verifier(), counters: counters, configuration: configuration, watch: watch)
    }

    /// Until an answer's first byte its source may have waited itself. Were the bytes told first, which come in one record
    /// with the header, that would look like data that comes slowly.
    @Test func whatAnAnswerSaysIsToldBeforeItsBytes() throws {
        final class Signs {
            var all: [String] = []
            var bytes = 0
        }
        let signs = Signs()
        let server = try self.start()
        defer { server.stop() }
        let client = try self.connect(
            server,
            watch: { sign throws(TransferError) in
                switch sign {
                case .answering: signs.all.append("answering")
                case .bytes(let count):
                    signs.bytes += count
                    if signs.all.last != "bytes" { signs.all.append("bytes") }
                case .waiting, .quiet: break
                }
            })
        let manifest = try client.manifest(
            of: image, digest: store.manifest.digest, sizeBytes: store.manifest.sizeBytes)
        (signs.all, signs.bytes) = ([], 0)
        // One after the other, so that no byte of the next one comes with the one before.
        for index in 0..<3 { try client.fetch(manifest, indexes: [index]) { _ in } }
        #expect(signs.all == ["answering", "bytes", "answering", "bytes", "answering", "bytes"])
        #expect(signs.bytes > 300_000, "what was held back is told, too")
    }

    @Test func pullsAndVerifiesAnImage() throws {
        let server = try self.start()
        defer { server.stop() }
        let counters = TransferCounters()
        let client = try self.connect(server, counters: counters)
        let manifest = try client.manifest(
            of: image, digest: store.manifest.digest, sizeBytes: store.manifest.sizeBytes)
        #expect(manifest == store.manifest)
        var received: [Int: [UInt8]] = [:]
        try client.fetch(manifest, indexes: [0, 1, 2]) { received[$0.index] = $0.data }
        #expect(received == [0: store.data[0], 1: store.data[1], 2: store.data[2]])
        let travelled = counters.snapshot().peers[.manager]
        #expect(travelled?.receivedChunks == 3)
        // Compressed but for the last chunk.
        #expect(try #require(travelled).receivedBytes < 2_000_000)
        #expect(try #require(travelled).receivedBytes >= 300_000)
        server.stop()
        #expect(server.counters.snapshot().peers[.node(node)]?.servedBytes == travelled?.receivedBytes)
    }

    @Test func refusesACorruptChunk() throws {
        let server = try self.start()
        defer { server.stop() }
        store.corrupt(1)
        let counters = TransferCounters()
        let client = try self.connect(server, counters: counters)
        var received: [Int] = []
        #expect(throws: TransferError.digestMismatch(chunk: 1)) {
            try client.fetch(store.manifest, indexes: [0, 1, 2]) { received.append($0.index) }
        }
        #expect(received == [0])
        #expect(counters.snapshot().peers[.manager]?.corruptChunks == 1)
    }

    @Test func answersWhatItCannotGive() throws {
        let other = ImageID.generate(at: Timestamp(milliseconds: 99))
        let server = try self.start(authorise: { _, image in image == self.image })
        defer { server.stop() }
        store.withhold(1)
        #expect(throws: TransferError.notYet) {
            try connect(server).fetch(store.manifest, indexes: [1]) { _ in }
        }
        store.provide(1)
        try connect(server).fetch(store.manifest, indexes: [1]) { _ in }
        let client = try self.connect(server)
        #expect(throws: TransferError.notPermitted("image \(other) is not to be given to this node")) {
            try client.manifest(of: other, digest: store.manifest.digest, sizeBytes: 1)
        }
        #expect(throws: TransferError.self) {
            try client.manifest(of: image, digest: Manifest.digest(of: [1]), sizeBytes: store.manifest.sizeBytes)
        }
    }

    /// While a chain is set up, its hosts hear of it one after another: a manifest is waited for, and so is the permission.
    @Test func holdsTheManifestsAnswer() async throws {
        let permitted = Mutex(false)
        let server = try self.start(authorise: { _, _ in permitted.withLock { $0 } })
        defer { server.stop() }
        #expect(throws: TransferError.self) {
            try connect(server, wait: .zero).manifest(
                of: image, digest: store.manifest.digest, sizeBytes: store.manifest.sizeBytes)
        }
        async let manifest = Task.detached { [self] in
            try connect(server, wait: .seconds(30), manifestWait: .seconds(30)).manifest(
                of: image, digest: store.manifest.digest, sizeBytes: store.manifest.sizeBytes)
        }.value
        try await eventually("asks") { server.counters.snapshot().connections > 0 }
        permitted.withLock { $0 = true }
        #expect(try await manifest == store.manifest)
    }

    private func refusal(_ server: ChunkServer, _ expected: SessionRefusal) async throws {
        try await eventually("\(expected)") { server.counters.snapshot().refusals[expected, default: 0] > 0 }
    }

    /// Connects and asks for something; the server tells its reason in its counters and log.
    private func ask(_ server: ChunkServer, _ credentials: TLSCredentials) {
        _ = try? connect(server, credentials: credentials).manifest(
            of: image, digest: store.manifest.digest, sizeBytes: store.manifest.sizeBytes)
    }

    @Test("SEC-07 wrong certificates get nothing") func refusesCertificates() async throws {
        let expired = try self.start(verify: site.verifier(after: .seconds(7200)))
        defer { expired.stop() }
        ask(expired, try site.node(node))
        try await refusal(expired, .certificateExpired)
        let server = try self.start(verify: { [verify = site.verifier(), node] leaf in
            // A revoked node, as the manager's verifier knows it.
            verify(leaf).flatMap { $0.identity == .node(node) ? .failure(.certificateRevoked) : .success($0) }
        })
        defer { server.stop() }
        ask(server, try TestSite().node(node))
        try await refusal(server, .unknownAuthority)
        ask(server, try site.node(node))
        try await refusal(server, .certificateRevoked)
        #expect(server.counters.snapshot().servedBytes == 0)
        #expect(expired.counters.snapshot().servedBytes == 0)
    }

    @Test("SEC-07 a node gets what it was assigned, no other node does, and from when it may not, it gets nothing more")
    func refusesFromNowOn() throws {
        let allowed = Mutex(true)
        let server = try self.start(authorise: { [node, image] peer, asked in
            peer == .node(node) && asked == image && allowed.withLock { $0 }
        })
        defer { server.stop() }
        let other = try self.connect(
            server, credentials: try site.node(NodeID.generate(at: Timestamp(milliseconds: 9))))
        #expect(throws: TransferError.notPermitted("image \(image) is not to be given to this node")) {
            try other.fetch(store.manifest, indexes: [0]) { _ in }
        }
        let client = try self.connect(server)
        var received: [Int] = []
        try client.fetch(store.manifest, indexes: [0, 1]) { received.append($0.index) }
        // Disabled or removed: the connection that is open has no longer life than the permission.
        allowed.withLock { $0 = false }
        #expect(throws: TransferError.notPermitted("image \(image) is not to be given to this node")) {
            try client.fetch(store.manifest, indexes: [2]) { received.append($0.index) }
        }
        #expect(throws: TransferError.self) {
            try client.manifest(of: image, digest: store.manifest.digest, sizeBytes: store.manifest.sizeBytes)
        }
        #expect(received == [0, 1])
    }

    @Test("SEC-07 no certificate gets nothing") func refusesNoCertificate() async throws {
        let server = try self.start()
        defer { server.stop() }
        let answer = try openssl([
            "s_client", "-connect", "127.0.0.1:\(server.port)", "-alpn", "roost-chunks/1", "-quiet",
        ])
        #expect(answer.isEmpty)
        try await refusal(server, .noCertificate)
        _ = try openssl(["s_client", "-connect", "127.0.0.1:\(server.port)", "-quiet"])
        try await refusal(server, .unsupportedProtocol)
        _ = try openssl(["s_client", "-connect", "127.0.0.1:\(server.port)", "-tls1_2", "-quiet"])
        try await refusal(server, .malformedFrame)
        #expect(try works(server))
    }

    private func openssl(_ arguments: [String]) throws -> Data {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return data
    }

    @Test func clientRefusesAnotherPeerThanItAskedFor() throws {
        let server = try self.start()
        defer { server.stop() }
        #expect(throws: TransferError.refused(.identityMismatch)) { try connect(server, expecting: node) }
    }

    private func works(_ server: ChunkServer) throws -> Bool {
        var count = 0
        try connect(server).fetch(store.manifest, indexes: [0]) { _ in count += 1 }
        return count == 1
    }

    private func rawConnection(_ server: ChunkServer) throws -> TLSConnection {
        let descriptor = try Socket.connect("127.0.0.1:\(server.port)", deadline: .now + .seconds(5))
        let context = try TLSContext(side: .client, credentials: try site.node(node))
        let connection = try TLSConnection(descriptor: descriptor, context: context)
        try connection.handshake(as: .client, deadline: .now + .seconds(5))
        return connection
    }

    @Test(arguments: [
        ([0xFF, 0xFF, 0xFF, 0xFF, 0x72, 0, 0, 0] as [UInt8], SessionRefusal.frameTooLarge),
        ([0, 0, 8, 0, 0x72, 0, 0, 0], .frameTooLarge),
        ([0, 0, 0, 0, 0xEE, 0, 0, 0], .malformedFrame),
        ([0, 0, 0, 2, 0x72, 0, 0, 0, 0xFF, 0xFF], .malformedMessage),
        ([0, 0, 0, 0, 0x72, 0, 0, 0], .malformedMessage),
        ([0, 0, 0, 0, 0x01, 0, 0, 0], .unexpectedMessage),
        (Array("GET / HTTP/1.1\r\n\r\n".utf8), .malformedFrame),
    ])
    func refusesGarbage(bytes: [UInt8], expected: SessionRefusal) async throws {
        let server = try self.start()
        defer { server.stop() }
        let connection = try rawConnection(server)
        try connection.write(bytes, deadline: .now + .seconds(5), doing: "test")
        try await refusal(server, expected)
        #expect(try works(server))
    }

    @Test func endsSlowPeers() async throws {
        let server = try self.start(configured: {
            $0.handshakeTimeout = .milliseconds(200)
            $0.frameTimeout = .milliseconds(200)
            $0.idleTimeout = .milliseconds(300)
        })
        defer { server.stop() }
        let silent = try Socket.connect("127.0.0.1:\(server.port)", deadline: .now + .seconds(5))
        defer { close(silent) }
        try await refusal(server, .handshakeTimeout)
        let idle = try rawConnection(server)
        let half = try rawConnection(server)
        try half.write([0, 0, 0, 40, 0x72], deadline: .now + .seconds(5), doing: "test")
        try await eventually("all gone") { server.counters.snapshot().connections == 0 }
        _ = idle
        #expect(try works(server))
    }

    @Test func limitsConnections() async throws {
        let server = try self.start(configured: {
            $0.maximumConnections = 6
            $0.maximumConnectionsPerPeer = 2
        })
        defer { server.stop() }
        let first = try rawConnection(server)
        let second = try rawConnection(server)
        try await eventually("both admitted") { server.counters.snapshot().connections == 2 }
        let third = try rawConnection(server)
        try await refusal(server, .busy)
        _ = (first, second, third)
        withExtendedLifetime((first, second, third)) {}
    }

    @Test func stopsWhileConnectionsAreOpen() throws {
        let server = try self.start()
        let connection = try rawConnection(server)
        server.stop()
        #expect(server.counters.snapshot().connections == 0)
        withExtendedLifetime(connection) {}
    }

    @Test func interruptEndsAWaitingClient() async throws {
        let server = try self.start()
        defer { server.stop() }
        let interrupt = TransferInterrupt()
        interrupt.interrupt()
        let context = try TLSContext(side: .client, credentials: try site.node(node))
        #expect(throws: TransferError.interrupted) {
            try ChunkClient(
                source: ChunkSource(node: nil, address: "127.0.0.1:\(server.port)"), context: context,
                verify: site.verifier(), counters: TransferCounters(), interrupt: interrupt)
        }
    }
}

@Suite struct ZstandardTests {
    @Test func decodesExactly() throws {
        let data = [UInt8](repeating: 5, count: 100_000)
        let frame = try #require(Zstandard.compress(data, limit: 90_000))
        #expect(Zstandard.decode(frame, exactly: 100_000) == data)
        #expect(Zstandard.decode(frame, exactly: 99_999) == nil)
        #expect(Zstandard.decode(frame, exactly: 100_001) == nil)
        #expect(Zstandard.decode(Array(frame.dropLast()), exactly: 100_000) == nil)
        #expect(Zstandard.decode([1, 2, 3], exactly: 3) == nil)
        #expect(Zstandard.compress(data, limit: 4) == nil)
        for position in frame.indices {
            var damaged = frame
            damaged[position] ^= 0x10
            let decoded = Zstandard.decode(damaged, exactly: 100_000)
            #expect(decoded == nil || decoded?.count == 100_000)
        }
    }
}
