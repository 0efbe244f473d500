import Foundation
import Logging
import ManagerFleet
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
            let authority = self.authority
            let answer = try await store.write { sql in
                try Self.certify(request, peer?.node, authority: authority, at: now, in: sql)
            }
            logger.info(
                peer == nil ? "node joined" : "certificate renewed",
                metadata: [
                    "node.id": "\(NodeID(bytes: answer.nodeID)?.description ?? "")", "remote": "\(remoteAddress)",
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

    private static func certify(
        _ request: Roost_V1_EnrolmentRequest, _ renewing: NodeID?, authority: SiteAuthority, at now: Timestamp,
        in sql: Transaction
    ) throws -> Roost_V1_EnrolmentAnswer {
        var answer = Roost_V1_EnrolmentAnswer.with {
            $0.siteID = authority.site.bytes
            $0.authorityCertificateDer = Data(authority.certificateDER)
        }
        func sign(_ node: NodeID) throws -> String {
            let certificate = try authority.signNode(
                requestDER: Array(request.certificateRequestDer), node: node, at: now)
            answer.nodeID = node.bytes
            answer.certificateDer = Data(certificate.der)
            return certificate.serial
        }
        if let renewing {
            try Enrolment.renew(renewing, at: now, in: sql, sign: sign)
        } else {
            _ = try Enrolment.join(request, at: now, in: sql, sign: sign)
        }
        return answer
    }
}
