import AsyncHTTPClient
import Foundation
import NIOCore
import NIOSSL
import ProcessThreads

/// Asks a guest whether it is ready: its ssh port answers with a banner, or the image's `service_url` with any page
/// (IMG-13, IMG-14). Nobody but the guest's own address is ever asked.
public struct ReadinessProbe: Sendable {
    private static let threads = BlockingThreads(name: "roost-ready", threads: 8, limit: 1024)
    private let limit: Duration

    public init(limit: Duration = .seconds(3)) {
        self.limit = limit
    }

    /// Whether the ssh server at the address says who it is.
    public func sshAnswers(at address: String, port: UInt16 = 22) async -> Bool {
        let seconds = max(1, Int(limit.components.seconds))
        return (try? await Self.threads.run { Self.readBanner(address, port, seconds) }) ?? false
    }

    /// Whether the page behind the URL answers; `{}` stands for the address, and a URL that names another host is refused.
    public func pageAnswers(_ template: String, address: String) async -> Bool {
        let text = template.replacingOccurrences(of: "{}", with: address)
        guard let url = URL(string: text), ["http", "https"].contains(url.scheme), url.host == address else {
            return false
        }
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        // A guest's own certificate is not what is asked here: only whether its server runs.
        configuration.tlsConfiguration = .makeClientConfiguration()
        configuration.tlsConfiguration?.certificateVerification = .none
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        let answered =
            (try? await client.execute(HTTPClientRequest(url: text), timeout: .seconds(limit.components.seconds)))
            != nil
        try? await client.shutdown()
        return answered
    }

    private static func readBanner(_ address: String, _ port: UInt16, _ seconds: Int) -> Bool {
        var target = sockaddr_in()
        target.sin_family = sa_family_t(AF_INET)
        target.sin_port = port.bigEndian
        guard inet_pton(AF_INET, address, &target.sin_addr) == 1 else { return false }
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        // On Linux the time-out for sending bounds connect, too.
        var wait = timeval(tv_sec: seconds, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &wait, socklen_t(MemoryLayout<timeval>.size))
        }
        let connected = withUnsafePointer(to: &target) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else { return false }
        var bytes = [UInt8](repeating: 0, count: 4)
        return recv(descriptor, &bytes, 4, Int32(MSG_WAITALL)) == 4 && bytes == Array("SSH-".utf8)
    }
}
