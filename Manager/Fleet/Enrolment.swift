import Crypto
import Foundation
import Logging
import ManagerLifecycle
import ManagerModel
import ManagerStore
public import ProtocolMessages
public import ProtocolModel
import ProtocolTrust
import SwiftProtobuf

extension Fleet {
    /// Joins a node with a token, or gives a node that has a certificate a new one.
    public func enrol(
        _ request: Roost_V1_EnrolmentRequest, peer: VerifiedPeer?, remoteAddress: String
    ) async -> Result<Roost_V1_EnrolmentAnswer, SessionRefusal> {
        let now = time.timestamp
        do {
            let (authority, version) = (self.authority, String(request.softwareVersion.prefix(32)))
            let answer = try await store.write { sql in
                if let node = peer?.node {
                    return try Self.renew(node, request, authority: authority, at: now, in: sql)
                }
                return try Self.join(request, version: version, authority: authority, at: now, in: sql)
            }
            logger.info(
                peer == nil ? "node joined" : "certificate renewed",
                metadata: [
                    "node.id": "\(NodeID(octets: answer.nodeID)?.description ?? "")", "remote": "\(remoteAddress)",
                ])
            return .success(answer)
        } catch let refusal as SessionRefusal {
            return .failure(refusal)
        } catch let error as TrustError {
            logger.notice("certificate request refused", metadata: ["remote": "\(remoteAddress)", "error": "\(error)"])
            return .failure(.certificateRequestInvalid)
        } catch {
            logger.error("enrolment failed", metadata: ["remote": "\(remoteAddress)", "error": "\(error)"])
            return .failure(.busy)
        }
    }

    private static func join(
        _ request: Roost_V1_EnrolmentRequest, version: String, authority: SiteAuthority, at now: Timestamp,
        in sql: Transaction
    ) throws -> Roost_V1_EnrolmentAnswer {
        guard let hash = ContentDigest(bytes: SHA256.hash(data: Data(request.joinToken.utf8))),
            let token = try sql.nodes.joinToken(hash: hash)
        else { throw SessionRefusal.joinTokenInvalid }
        guard token.usedAt == nil else { throw SessionRefusal.joinTokenUsed }
        guard now < token.expiresAt else { throw SessionRefusal.joinTokenExpired }
        let name = request.nodeName
        guard isNodeName(name) else { throw SessionRefusal.certificateRequestInvalid }
        if let only = token.nodeName, only != name { throw SessionRefusal.joinTokenInvalid }
        guard try sql.nodes.find(name: name) == nil else { throw SessionRefusal.nodeNameTaken }

        let id = NodeID.generate(at: now)
        let certificate = try authority.signNode(requestDER: Array(request.certificateRequestDer), node: id, at: now)
        var node = Node(id: id, name: name, certificateSerial: certificate.serial, joinedAt: now)
        node.softwareVersion = version
        try sql.nodes.insert(node)
        try sql.nodes.markUsed(token, at: now)
        try sql.events.append(
            "node.joined", actor: .manager, owner: nil,
            resource: ResourceReference(kind: "node", id: "\(id)", name: name),
            detail: "with a token of \(token.createdBy)", at: now)
        return answer(id, certificate, authority)
    }

    /// The old certificate stays good until it expires: the agent may die before it has kept the new one.
    private static func renew(
        _ id: NodeID, _ request: Roost_V1_EnrolmentRequest, authority: SiteAuthority, at now: Timestamp,
        in sql: Transaction
    ) throws -> Roost_V1_EnrolmentAnswer {
        guard var node = try sql.nodes.find(id) else { throw SessionRefusal.certificateRevoked }
        let certificate = try authority.signNode(requestDER: Array(request.certificateRequestDer), node: id, at: now)
        node.certificateSerial = certificate.serial
        try sql.nodes.update(node)
        return answer(id, certificate, authority)
    }

    private static func answer(
        _ node: NodeID, _ certificate: IssuedCertificate, _ authority: SiteAuthority
    ) -> Roost_V1_EnrolmentAnswer {
        .with {
            $0.nodeID = node.octets
            $0.siteID = authority.site.octets
            $0.certificateDer = Data(certificate.der)
            $0.authorityCertificateDer = Data(authority.certificateDER)
        }
    }

    /// A host name (RFC 1123 §2.1), which is also safe in a table, a path and a log line (SEC-03).
    static func isNodeName(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count <= 253
            && name.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
                (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
                    && label.utf8.allSatisfy {
                        (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45
                            || $0 == 95
                    }
            }
    }
}
