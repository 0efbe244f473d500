public import Foundation

/// An ssh key that guests accept.
public struct KeyPair: CreatableResource, ChangeableResource, Equatable {
    /// Under `/v1/`.
    public static let collection = "keypairs"

    /// Never given to another.
    public var id: String
    /// As people call it.
    public var name: String
    /// Such as `ssh-ed25519`.
    public var type: String
    /// SHA-256, as OpenSSH writes it.
    public var fingerprint: String
    /// One line in OpenSSH's format.
    public var publicKey: String
    /// By name.
    public var owner: String
    /// When it was made.
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
        /// As people call it.
        public var name: String
        /// One line in OpenSSH's format; the manager makes a pair where left out.
        public var publicKey: String?

        enum CodingKeys: String, CodingKey {
            case name, publicKey = "public_key"
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String, publicKey: String? = nil
        ) {
            self.name = name
            self.publicKey = publicKey
        }
    }

    /// What is to be different.
    public struct Change: Encodable, Sendable {
        /// As people call it.
        public var name: String?

        enum CodingKeys: String, CodingKey {
            case name
        }

        /// What is left out is left to the site, or as it is.
        public init(
            name: String? = nil
        ) {
            self.name = name
        }
    }
}
