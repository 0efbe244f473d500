import AsyncHTTPClient
import Foundation
public import ManagerModel
import NIOCore
import NIOHTTP1
import NIOSSL
public import ProtocolModel

/// Where the bytes of a file that is fetched go. One caller at a time.
public protocol FetchSink: Sendable {
    /// Bytes that have come so far.
    var byteCount: Int64 { get async }
    /// Forgets them: the server sends the file from its start.
    func restart() async throws
    func append(_ bytes: [UInt8]) async throws
    /// What the server says of the file: with the tag, the rest of it can be asked for after a restart.
    func learn(entityTag: String?, expectedBytes: Int64?) async throws
}

/// Fetches a file by HTTP, and nothing that the site's network would rather keep to itself (SEC-04): each host, also of a
/// redirect, is resolved once, its address judged, and that very address connected to.
public struct ImageFetcher: Sendable {
    public struct Settings: Sendable {
        /// Whether hosts of the site's own networks may be asked.
        public var allowsPrivateAddresses = false
        /// Hosts that may be asked whatever their address, in lower case.
        public var allowedHosts: Set<String> = []
        /// For all of it.
        public var timeLimit: Duration = .seconds(6 * 3600)
        /// Without a byte.
        public var stallLimit: Duration = .seconds(30)
        /// In turn without any progress.
        public var attempts = 6
        public var backoff = Backoff(first: .seconds(1), maximum: .seconds(30))
        /// PEM certificates of authorities that are trusted beside the system's.
        public var authorityPEM: [UInt8]?
        public var maximumRedirects = 5

        public init() {}
    }

    private let settings: Settings
    private let resolver: any HostResolver
    private let authorities: [NIOSSLCertificate]

    /// - Throws: where the authorities' certificates cannot be read.
    public init(_ settings: Settings, resolver: any HostResolver = SystemResolver()) throws {
        self.settings = settings
        self.resolver = resolver
        authorities = try settings.authorityPEM.map { try NIOSSLCertificate.fromPEMBytes($0) } ?? []
    }

    /// Fetches the whole file, going on where it broke off.
    ///
    /// - Parameter entityTag: of what is in the sink already.
    /// - Throws: `FetchError`, `CancellationError`, or what the sink throws.
    public func fetch(_ address: ImageAddress, entityTag: String? = nil, into sink: any FetchSink) async throws {
        let limit = settings.timeLimit
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await persist(address, entityTag, sink) }
            group.addTask {
                try await Task.sleep(for: limit)
                throw FetchError(.timedOut, "fetching the image took longer than \(limit.components.seconds) s")
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private func persist(_ address: ImageAddress, _ entityTag: String?, _ sink: any FetchSink) async throws {
        var (tag, failures, backoff) = (entityTag, 0, settings.backoff)
        var random = SystemRandomNumberGenerator()
        while true {
            let before = await sink.byteCount
            do {
                return try await follow(address, &tag, sink)
            } catch let error as FetchError where error.mayPass {
                if await sink.byteCount > before { (failures, backoff) = (0, settings.backoff) }
                failures += 1
                guard failures < settings.attempts else { throw error }
            }
            try await Task.sleep(for: backoff.next(using: &random))
        }
    }

    /// One attempt, over redirects.
    private func follow(_ first: ImageAddress, _ tag: inout String?, _ sink: any FetchSink) async throws {
        var address = first
        for _ in 0...settings.maximumRedirects {
            guard let next = try await ask(address, &tag, sink) else { return }
            guard next.isEncrypted || !address.isEncrypted else {
                throw FetchError(.redirect, "the server sends on from https to http, which is not followed")
            }
            address = next
        }
        throw FetchError(.redirect, "the server sends on more than \(settings.maximumRedirects) times")
    }

    // MARK: One request

    /// - Returns: where the server sends on to; `nil` once the file is whole.
    private func ask(
        _ address: ImageAddress, _ tag: inout String?, _ sink: any FetchSink
    ) async throws -> ImageAddress? {
        let candidates = try await permitted(address)
        for pinned in candidates.dropLast() {
            do {
                return try await ask(address, at: pinned, &tag, sink)
            } catch let error as FetchError where error.isUnanswered {
                continue
            }
        }
        return try await ask(address, at: candidates[candidates.count - 1], &tag, sink)
    }

    private func ask(
        _ address: ImageAddress, at pinned: NetworkAddress, _ tag: inout String?, _ sink: any FetchSink
    ) async throws -> ImageAddress? {
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration(address, pinned))
        do {
            let next = try await ask(address, client, &tag, sink)
            try? await client.shutdown()
            return next
        } catch {
            try? await client.shutdown()
            throw error
        }
    }

    /// The addresses that may be connected to, at least one.
    func permitted(_ address: ImageAddress) async throws -> [NetworkAddress] {
        let found = try await resolver.addresses(of: address.host)
        guard !found.isEmpty else {
            throw FetchError(.unresolved, "there is no host '\(address.host)'", mayPass: true)
        }
        if settings.allowsPrivateAddresses || settings.allowedHosts.contains(address.host) { return found }
        // What it is refused for is not told: whoever asks shall not learn how the site's network looks.
        let usable = found.filter(\.isPublic)
        guard !usable.isEmpty else {
            throw FetchError(
                .addressRefused,
                "'\(address.host)' is not on the public Internet; the operator can allow it (images.allowed_hosts)")
        }
        return usable
    }

    func configuration(_ address: ImageAddress, _ pinned: NetworkAddress) -> HTTPClient.Configuration {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        tls.additionalTrustRoots = authorities.isEmpty ? [] : [.certificates(authorities)]
        var configuration = HTTPClient.Configuration(tlsConfiguration: tls)
        // Nobody is asked for the name again, so that it cannot mean another host meanwhile.
        configuration.dnsOverride = [address.host: "\(pinned)"]
        configuration.redirectConfiguration = .disallow
        configuration.httpVersion = .http1Only
        configuration.decompression = .disabled
        configuration.timeout.connect = .seconds(15)
        configuration.timeout.read = TimeAmount(settings.stallLimit)
        configuration.connectionPool.retryConnectionEstablishment = false
        return configuration
    }

    private func ask(
        _ address: ImageAddress, _ client: HTTPClient, _ tag: inout String?, _ sink: any FetchSink
    ) async throws -> ImageAddress? {
        var request = HTTPClientRequest(url: address.description)
        request.headers.add(name: "accept-encoding", value: "identity")
        request.headers.add(name: "user-agent", value: "roost")
        var offset = await sink.byteCount
        if offset > 0, let tag {
            request.headers.add(name: "range", value: "bytes=\(offset)-")
            request.headers.add(name: "if-range", value: tag)
        }
        let response = try await reaching(address, isFirst: true) {
            try await client.execute(request, timeout: .hours(24 * 7))
        }
        let answer = FetchAnswer(status: Int(response.status.code), headers: response.headers)
        switch try answer.meaning(at: offset, from: address) {
        case .sentOn(let next): return next
        case .whole(let expected):
            if offset > 0 {
                try await sink.restart()
                offset = 0
            }
            tag = answer.entityTag
            try await sink.learn(entityTag: tag, expectedBytes: expected)
            try await receive(response, address, from: offset, expected: expected, sink)
        case .rest(let expected):
            try await sink.learn(entityTag: tag, expectedBytes: expected)
            try await receive(response, address, from: offset, expected: expected, sink)
        case .complete: break
        }
        return nil
    }

    private func receive(
        _ response: HTTPClientResponse, _ address: ImageAddress, from offset: Int64, expected: Int64?,
        _ sink: any FetchSink
    ) async throws {
        var position = offset
        var iterator = response.body.makeAsyncIterator()
        while let buffer = try await reaching(address, { try await iterator.next() }) {
            position += Int64(buffer.readableBytes)
            if let expected, position > expected {
                throw FetchError(.changed, "the server sent more than the \(expected) bytes that it announced")
            }
            try await sink.append(Array(buffer.readableBytesView))
        }
        if let expected, position < expected {
            throw FetchError(
                .unreachable, "the connection ended after \(position) of \(expected) bytes", mayPass: true)
        }
    }

    /// Says of what the client throws what it means here.
    private func reaching<Result>(
        _ address: ImageAddress, isFirst: Bool = false, isolation: isolated (any _Concurrency.Actor)? = #isolation,
        _ body: () async throws -> Result
    ) async throws -> Result {
        do {
            return try await body()
        } catch let error as CancellationError {
            throw error
        } catch let error as FetchError {
            throw error
        } catch {
            try Task.checkCancellation()
            if error is NIOSSLExtraError || "\(error)".contains("CERTIFICATE_VERIFY_FAILED") {
                throw FetchError(
                    .certificate,
                    "the certificate of '\(address.host)' could not be verified; is its authority known here (images.authority_file)?"
                )
            }
            throw FetchError(
                .unreachable, "'\(address.host)' could not be reached: \(error)", mayPass: true, isUnanswered: isFirst)
        }
    }
}

/// What a server's answer means.
struct FetchAnswer {
    enum Meaning: Equatable {
        case whole(expected: Int64?)
        case rest(expected: Int64?)
        /// All of it had come before.
        case complete
        case sentOn(ImageAddress)
    }

    let status: Int
    let headers: HTTPHeaders

    /// A strong one alone says that bytes are the same.
    var entityTag: String? {
        guard let tag = headers.first(name: "etag"), tag.hasPrefix("\""), tag.utf8.count <= 256 else { return nil }
        return tag
    }

    func meaning(at offset: Int64, from address: ImageAddress) throws(FetchError) -> Meaning {
        switch status {
        case 200:
            try checkEncoding()
            return .whole(expected: headers.first(name: "content-length").flatMap { Int64($0) })
        case 206:
            try checkEncoding()
            guard let range = contentRange, range.first == offset else {
                throw FetchError(.changed, "the server sent another part of the file than was asked for")
            }
            return .rest(expected: range.total)
        case 416 where contentRange?.total == offset && offset > 0: return .complete
        case 301, 302, 303, 307, 308: return .sentOn(try location(from: address))
        case 408, 425, 429, 500, 502, 503, 504:
            throw FetchError(.status, "the server answers with status \(status)", mayPass: true)
        default: throw FetchError(.status, "the server answers with status \(status); check the address")
        }
    }

    /// What is packed for the way would have to be unpacked here, to a size that nobody announced.
    private func checkEncoding() throws(FetchError) {
        let encodings = headers["content-encoding"].filter { $0.lowercased() != "identity" }
        guard encodings.isEmpty else {
            throw FetchError(.encoding, "the server sends the file encoded (\(encodings[0].prefix(32))), unasked")
        }
    }

    private func location(from address: ImageAddress) throws(FetchError) -> ImageAddress {
        guard let text = headers.first(name: "location"),
            let target = URL(string: text, relativeTo: address.url)?.absoluteURL
        else { throw FetchError(.redirect, "the server sends on without saying where to") }
        // What stands behind # is for browsers.
        let plain = target.absoluteString.prefix { $0 != "#" }
        do {
            return try ImageAddress(String(plain))
        } catch {
            throw FetchError(.redirect, "the server sends on to what is not followed: \(error.sentence)")
        }
    }

    /// `bytes 100-199/200`, `bytes */200`.
    private var contentRange: (first: Int64?, total: Int64?)? {
        guard let text = headers.first(name: "content-range"), text.lowercased().hasPrefix("bytes ") else { return nil }
        let parts = text.dropFirst(6).split(separator: "/", maxSplits: 1)
        guard parts.count == 2 else { return nil }
        return (parts[0].split(separator: "-").first.flatMap { Int64($0) }, Int64(parts[1]))
    }
}
