public import AgentManagers
import Foundation
public import NIOCore
public import NIOPosix
import ProtocolMessages
public import ProtocolModel
public import ProtocolTrust
import ProtocolWire
import SwiftProtobuf

/// Why a host could not join a site.
public enum JoinError: Error, Equatable, CustomStringConvertible {
    case unreachable(ManagerAddress, String)
    /// The other end did not show the authority of the given fingerprint; the token was not sent.
    case fingerprintDiffers(ManagerAddress)
    /// The other end shows the right authority and is not its manager; the token was not sent.
    case notTheManager(ManagerAddress, SessionRefusal)
    case handshakeFailed(ManagerAddress, String)
    case refused(SessionRefusal)
    /// The manager ended the connection with a code that this version does not know.
    case refusedOtherwise(String)
    case noAnswer(ManagerAddress)
    /// The certificate that came back is not what was asked for.
    case wrongAnswer(String)
    case failed(String)

    public var description: String {
        switch self {
        case .unreachable(let address, let why):
            "the manager at \(address) could not be reached (\(why)); check the address, the port and the firewall"
        case .fingerprintDiffers(let address):
            "\(address) did not present the authority with the given fingerprint, so the token was not sent; compare the "
                + "fingerprint with 'roost-manager fingerprint', and make sure that nobody stands between"
        case .notTheManager(let address, let refusal):
            "\(address) is not this site's manager (\(refusal.sentence)); the token was not sent"
        case .handshakeFailed(let address, let why):
            "\(address) does not speak Roost's agent protocol (\(why)); check that the port is that for agents"
        case .refused(let refusal): "the manager refused: \(refusal.sentence)"
        case .refusedOtherwise(let sentence): "the manager refused: \(sentence)"
        case .noAnswer(let address): "the manager at \(address) did not answer; look into its log, then try again"
        case .wrongAnswer(let why): "the manager's answer is not usable: \(why)"
        case .failed(let why): "the request could not be made: \(why)"
        }
    }
}

/// Joins a site: a token and the authority's fingerprint buy a certificate.
public enum Enrolment {
    /// Asks a manager for this host's certificate.
    ///
    /// The fingerprint is compared with what the other end presents before the token leaves this host; the certificate
    /// that comes back is checked as the manager's was. Nothing is written: the caller keeps the identity in files.
    public static func join(
        managerAddress: ManagerAddress, token: String, caFingerprint: CertificateFingerprint, nodeName: String,
        softwareVersion: String, timeout: Duration = .seconds(30), time: any TimeSource = SystemTime(),
        group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) async throws(JoinError) -> EnrolledIdentity {
        let key = NodeKey()
        let request: ProtocolWire.Message
        do {
            let der = try key.certificateRequest(name: nodeName)
            request = .enrolmentRequest(
                .with {
                    $0.joinToken = token
                    $0.nodeName = nodeName
                    $0.certificateRequestDer = Data(der)
                    $0.softwareVersion = softwareVersion
                })
        } catch {
            throw .failed("\(error)")
        }
        let dialer = ManagerDialer(group: group)
        let channel: ManagerChannel
        do throws(DialError) {
            channel = try await dialer.dial(managerAddress, identity: nil) { chain in
                judge(chain, fingerprint: caFingerprint, at: time.timestamp)
            }
        } catch {
            throw JoinError(error, managerAddress)
        }
        let answer = try await exchange(request, on: channel, address: managerAddress, timeout: timeout)
        return try check(answer, key: key, fingerprint: caFingerprint, at: time.timestamp)
    }

    /// The pinned authority must be in the chain, and the leaf must be a manager's that it signed.
    static func judge(
        _ chain: [[UInt8]], fingerprint: CertificateFingerprint, at now: Timestamp
    ) -> Result<Void, DialError> {
        guard let leaf = chain.first,
            let authority = chain.first(where: { CertificateFingerprint(der: $0) == fingerprint }),
            let anchor = try? TrustAnchor(authorityDER: authority)
        else { return .failure(.fingerprintDiffers) }
        return ManagerJudge(anchor: anchor).judge(leaf, at: now)
    }

    private static func exchange(
        _ request: ProtocolWire.Message, on channel: ManagerChannel, address: ManagerAddress, timeout: Duration
    ) async throws(JoinError) -> Roost_V1_EnrolmentAnswer {
        let loop = channel.channel.eventLoop
        let transport = channel.channel
        // Closing the socket is what ends the wait: the loop below then sees the end of the stream.
        let timer = loop.scheduleTask(in: TimeAmount(timeout)) { transport.close(promise: nil) }
        defer { timer.cancel() }
        let answer: Result<Roost_V1_EnrolmentAnswer, JoinError>
        do {
            answer = try await channel.executeThenClose { inbound, outbound in
                // Where this fails the manager has closed already, and its goodbye is there to read.
                try? await outbound.write(ByteBuffer(bytes: try request.encoded()))
                var decoder = FrameDecoder(maximumPayloadBytes: Limits.firstFramePayloadBytes)
                for try await buffer in inbound {
                    buffer.withUnsafeReadableBytes { decoder.append($0) }
                    guard let frame = try decoder.next() else { continue }
                    return Self.read(try ProtocolWire.Message(frame: frame))
                }
                return .failure(.noAnswer(address))
            }
        } catch let refusal as SessionRefusal {
            throw .wrongAnswer(refusal.sentence)
        } catch {
            throw .noAnswer(address)
        }
        return try answer.get()
    }

    private static func read(_ message: ProtocolWire.Message) -> Result<Roost_V1_EnrolmentAnswer, JoinError> {
        switch message {
        case .enrolmentAnswer(let answer): return .success(answer)
        case .goodbye(let goodbye):
            guard case .theirs(let refusal, let sentence) = SessionEnd(goodbye) else {
                return .failure(.refusedOtherwise(""))
            }
            return .failure(refusal.map { .refused($0) } ?? .refusedOtherwise(sentence))
        default: return .failure(.wrongAnswer(SessionRefusal.unexpectedMessage.sentence))
        }
    }

    static func check(
        _ answer: Roost_V1_EnrolmentAnswer, key: NodeKey, fingerprint: CertificateFingerprint, at now: Timestamp
    ) throws(JoinError) -> EnrolledIdentity {
        let authority = Array(answer.authorityCertificateDer)
        guard CertificateFingerprint(der: authority) == fingerprint else {
            throw .wrongAnswer("it holds another authority than the one with the given fingerprint")
        }
        let identity: EnrolledIdentity
        do {
            identity = try EnrolledIdentity(
                keyPEM: key.pem, certificatePEM: CertificateEncoding.pem(der: Array(answer.certificateDer)),
                authorityPEM: CertificateEncoding.pem(der: authority))
            let anchor = try TrustAnchor(authorityDER: authority)
            if case .failure(let refusal) = anchor.verify(leafDER: Array(answer.certificateDer), at: now) {
                throw JoinError.wrongAnswer(refusal.sentence)
            }
        } catch let error as JoinError {
            throw error
        } catch {
            throw .wrongAnswer("\(error)")
        }
        guard identity.nodeID == NodeID(bytes: answer.nodeID), identity.siteID == SiteID(bytes: answer.siteID) else {
            throw .wrongAnswer("the certificate names another node than the answer")
        }
        return identity
    }
}

/// Knows this site's manager by its certificate.
struct ManagerJudge: Sendable {
    let anchor: TrustAnchor

    func judge(_ leafDER: [UInt8], at now: Timestamp) -> Result<Void, DialError> {
        switch anchor.verify(leafDER: leafDER, at: now) {
        case .failure(let refusal): .failure(.notTrusted(refusal))
        case .success(let peer): peer.identity == .manager ? .success(()) : .failure(.notTrusted(.wrongCertificateRole))
        }
    }
}

extension JoinError {
    init(_ error: DialError, _ address: ManagerAddress) {
        switch error {
        case .unreachable(let why): self = .unreachable(address, why)
        case .notTrusted(let refusal): self = .notTheManager(address, refusal)
        case .fingerprintDiffers: self = .fingerprintDiffers(address)
        case .handshakeFailed(let why): self = .handshakeFailed(address, why)
        }
    }
}
