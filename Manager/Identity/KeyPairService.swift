public import ManagerModel
public import ManagerStore
public import ProtocolModel

/// The rules about users' ssh keys.
public struct KeyPairService: Sendable {
    public static let maximumPerUser = 200

    public init() {}

    public func create(
        name: String, key: SSHPublicKey, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws -> KeyPair {
        guard let owner = actor.user, actor.rights.may(.keyPairCreate) else {
            throw Refusal(.forbidden, "key pairs belong to users")
        }
        guard KeyPairID(name) == nil else {
            throw Refusal(.invalidRequest, "a key pair's name must not look like an ID")
        }
        guard try transaction.keyPairs.list(.user(owner), name: name, Page(limit: 1)).isEmpty else {
            throw Refusal(.nameTaken, "you have a key pair '\(name)' already")
        }
        guard try transaction.keyPairs.list(.user(owner), Page(limit: Self.maximumPerUser)).count < Self.maximumPerUser
        else {
            throw Refusal(.conflict, "you have \(Self.maximumPerUser) key pairs, which is the most; delete some first")
        }
        let pair = KeyPair(
            id: .generate(at: now), name: name, owner: owner, type: key.type, fingerprint: key.fingerprint,
            publicKey: key.line, createdAt: now)
        try transaction.keyPairs.insert(pair)
        try transaction.events.append(
            "keypair.created", actor: actor, owner: owner, resource: pair.reference,
            changes: Event.differences(from: nil, to: pair), at: now)
        return pair
    }

    public func rename(
        _ pair: KeyPair, to name: String, by actor: Actor, at now: Timestamp, in transaction: Transaction
    ) throws -> KeyPair {
        guard name != pair.name else { return pair }
        guard KeyPairID(name) == nil else {
            throw Refusal(.unprocessable, "a key pair's name must not look like an ID")
        }
        guard try transaction.keyPairs.list(.user(pair.owner), name: name, Page(limit: 1)).isEmpty else {
            throw Refusal(.nameTaken, "there is a key pair '\(name)' already")
        }
        var renamed = pair
        renamed.name = name
        try transaction.keyPairs.rename(pair.id, to: name)
        try transaction.events.append(
            "keypair.updated", actor: actor, owner: pair.owner, resource: renamed.reference,
            changes: Event.differences(from: pair, to: renamed), at: now)
        return renamed
    }

    public func remove(_ pair: KeyPair, by actor: Actor, at now: Timestamp, in transaction: Transaction) throws {
        try transaction.keyPairs.remove(pair.id)
        try transaction.events.append(
            "keypair.deleted", actor: actor, owner: pair.owner, resource: pair.reference,
            changes: Event.differences(from: pair, to: nil), at: now)
    }
}
