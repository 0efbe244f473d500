import ManagerLifecycle
import ManagerModel
public import ManagerStore
import ProtocolDigest
public import ProtocolMessages
public import ProtocolModel

/// Who may join, and under which name. The certificate itself is signed by the caller, inside the same transaction.
public enum Enrolment {
    /// Records a node that shows a join token, and spends the token.
    ///
    /// - Parameter sign: signs the certificate for the new node and returns its serial number.
    /// - Throws: `SessionRefusal`, what `sign` throws, or a `StoreError`.
    public static func join(
        _ request: Roost_V1_EnrolmentRequest, at now: Timestamp, in sql: Transaction,
        sign: (NodeID) throws -> String
    ) throws -> NodeID {
        guard let token = try sql.nodes.joinToken(hash: ContentDigest(hashing: Array(request.joinToken.utf8))) else {
            throw SessionRefusal.joinTokenInvalid
        }
        guard token.usedAt == nil else { throw SessionRefusal.joinTokenUsed }
        guard now < token.expiresAt else { throw SessionRefusal.joinTokenExpired }
        let name = request.nodeName
        guard isNodeName(name) else { throw SessionRefusal.certificateRequestInvalid }
        if let only = token.nodeName, only != name { throw SessionRefusal.joinTokenInvalid }
        guard try sql.nodes.find(name: name) == nil else { throw SessionRefusal.nodeNameTaken }

        let id = NodeID.generate(at: now)
        var node = Node(id: id, name: name, certificateSerial: try sign(id), joinedAt: now)
        node.softwareVersion = String(request.softwareVersion.prefix(32))
        try sql.nodes.insert(node)
        try sql.nodes.markUsed(token, at: now)
        try sql.events.append(
            "node.joined", actor: .manager, owner: nil,
            resource: ResourceReference(kind: "node", id: "\(id)", name: name),
            detail: "with a token of \(token.createdBy)", data: ["token_id": "\(token.id)"],
            changes: Event.differences(from: nil, to: node), at: now)
        return id
    }

    /// Records the new certificate of a node. The old one stays good until it expires: the agent may die before it has
    /// kept the new one.
    public static func renew(
        _ id: NodeID, at now: Timestamp, in sql: Transaction, sign: (NodeID) throws -> String
    ) throws {
        guard var node = try sql.nodes.find(id) else { throw SessionRefusal.certificateRevoked }
        let before = node
        node.certificateSerial = try sign(id)
        try sql.nodes.update(node)
        try sql.events.append(
            "node.certificate_renewed", actor: .manager, owner: nil,
            resource: ResourceReference(kind: "node", id: "\(id)", name: node.name),
            changes: Event.differences(from: before, to: node), at: now)
    }

    /// Whether a genuine certificate is still good: its node is on record and its serial was not revoked.
    ///
    /// - Throws: a `StoreError`.
    public static func admits(_ node: NodeID, serial: String, in sql: Transaction) throws -> Bool {
        try sql.nodes.contains(node) && !sql.nodes.isRevoked(serial: serial)
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
