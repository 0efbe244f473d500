import Foundation
import Logging
import ProtocolMessages
import ProtocolModel
import ProtocolTrust
import SwiftProtobuf

/// A certificate renews itself on the session that it opened, from two thirds of its life on, with a new key.
extension Uplink {
    /// The request to send now, if the time has come.
    func renewalRequest() -> Roost_V1_EnrolmentRequest? {
        let now = time.timestamp
        let version = configuration.softwareVersion
        let key: NodeKey? = withHeld { held in
            guard now >= held.renewal else { return nil }
            let key = NodeKey()
            held.renewing = key
            // Asked again only after a while, whether or not an answer comes.
            held.renewal = now + Self.renewalRetry
            return key
        }
        guard let key, let der = try? key.certificateRequest(name: "\(identity.nodeID)") else { return nil }
        return .with {
            $0.certificateRequestDer = Data(der)
            $0.softwareVersion = version
        }
    }

    /// Takes the new certificate into use once the delegate has kept it; the next connection presents it.
    func renewed(_ answer: Roost_V1_EnrolmentAnswer) async {
        guard
            let key = withHeld({ held in
                defer { held.renewing = nil }
                return held.renewing
            })
        else { return }
        let current = identity
        do {
            let authority = try CertificateEncoding.der(pem: current.authorityPEM)
            let renewed = try Enrolment.check(
                answer, key: key, fingerprint: CertificateFingerprint(der: authority), at: time.timestamp)
            guard renewed.nodeID == current.nodeID else {
                throw JoinError.wrongAnswer("the new certificate names another node")
            }
            let renewal = try renewed.renewal()
            try await delegate.certificateRenewed(renewed)
            withHeld { held in
                held.identity = renewed
                held.renewal = renewal
            }
            logger.info("certificate renewed", metadata: ["next_renewal": "\(renewal)"])
        } catch {
            logger.error("the certificate was not renewed; the old one stays in use", metadata: ["error": "\(error)"])
        }
    }
}
