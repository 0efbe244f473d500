import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import ProtocolMessages
import ProtocolModel
import ProtocolTrust
import ProtocolWire
import SwiftProtobuf
import Testing

/// A raw agent: a TLS client that says what a test tells it to, well-formed or not.
struct TestAgent: Sendable {
    typealias Message = ProtocolWire.Message

    struct Credential: Sendable {
        let key: NodeKey
        let der: [UInt8]
    }

    let channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>

    /// Dials without checking whom: what is under test is the other end.
    static func connect(
        port: Int, credential: Credential?, alpn: String = "roost/1", version: TLSVersion = .tlsv13
    ) async throws -> TestAgent {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.certificateVerification = .none
        tls.applicationProtocols = [alpn]
        tls.maximumTLSVersion = version
        if let credential {
            tls.certificateChain = [.certificate(try NIOSSLCertificate(bytes: credential.der, format: .der))]
            tls.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: Array(credential.key.pem.utf8), format: .pem))
        }
        let context = try NIOSSLContext(configuration: tls)
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = try NIOSSLClientHandler(context: context, serverHostname: nil)
                    try channel.pipeline.syncOperations.addHandler(handler)
                    return try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return TestAgent(channel: channel)
    }

    /// Writes the bytes, then reads messages until `count` have come or the manager closes.
    func exchange(_ bytes: [UInt8], expecting count: Int = .max) async throws -> [Message] {
        var messages: [Message] = []
        do {
            try await channel.executeThenClose { inbound, outbound in
                // A manager that refused the certificate may have closed already; its goodbye is there to read.
                if !bytes.isEmpty { try? await outbound.write(ByteBuffer(bytes: bytes)) }
                var decoder = FrameDecoder()
                for try await buffer in inbound {
                    buffer.withUnsafeReadableBytes { decoder.append($0) }
                    while let frame = try decoder.next() { messages.append(try Message(frame: frame)) }
                    if messages.count >= count { return }
                }
            }
        } catch is NIOSSLError {
            // The manager closed in the middle of something, which is what some tests are about.
        } catch is IOError {
        } catch is ChannelError {
        }
        return messages
    }

    static func hello(node: NodeID, site: SiteID, _ change: (inout Roost_V1_Hello) -> Void = { _ in }) -> Message {
        var hello = Roost_V1_Hello.with {
            $0.nodeID = node.bytes
            $0.siteID = site.bytes
            $0.bootID = Data(repeating: 1, count: 16)
            $0.processID = Data(repeating: 2, count: 16)
            $0.protocolMinimum = 1
            $0.protocolMaximum = 1
        }
        change(&hello)
        return .hello(hello)
    }
}
