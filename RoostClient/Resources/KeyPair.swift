public import Foundation

/// An ssh key that guests accept.
public struct KeyPair: CreatableResource, ChangeableResource, Equatable {
    public static let collection = "keypairs"

    public var id: String
    public var name: String
    public var type: String
    public var fingerprint: String
    public var publicKey: String
    /// By name.
    public var owner: String
    public var createdAt: Date
    /// In the answer to its making alone, where the manager made the pair: it is not kept.
    public var privateKey: String?

    enum CodingKeys: String, CodingKey {
        case id, name, type, fingerprint, publicKey = "public_key", owner, createdAt = "created_at",
            privateKey = "private_key"
    }
}

extension KeyPair {
    /// A key.
    public struct Creation: Encodable, Sendable {
        public var name: String
        /// One line in OpenSSH's format; the manager makes a pair where left out.
        public var publicKey: String?

        enum CodingKeys: String, CodingKey {
            case name, publicKey = "public_key"
        }

        public init(
            name: String, publicKey: String? = nil
        ) {
            self.name = name
            self.publicKey = publicKey
        }
    }

    /// What is to be different.
    public struct Change: Encodable, Sendable {
        public var name: String?

        enum CodingKeys: String, CodingKey {
            case name
        }

        public init(
            name: String? = nil
        ) {
            self.name = name
        }
    }
}
