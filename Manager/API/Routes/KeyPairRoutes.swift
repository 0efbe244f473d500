import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

enum KeyPairRoutes {
    static let creation = ObjectSchema(
        "KeyPairCreation",
        [
            .init("name", .name(), required: true),
            .init(
                "public_key", .nullable(.string(TextRule(lengths: 1...SSHPublicKey.maximumBytes))),
                "one line in OpenSSH's format; if not given, a pair is made, and its private key shown in this answer alone"
            ),
        ])
    static let change = ObjectSchema("KeyPairChange", [.init("name", .name())])

    static let routes: [Route] = [
        Route(
            .get, "/v1/keypairs", "List ssh keys", .keyPairRead, query: Listings.keyPairs.query,
            replies: [(200, .list(KeyPairResource.schema))]
        ) { call in
            let scope = try call.scope(.keyPairRead)
            let request = try Listings.keyPairs.request(call)
            return try await call.read { transaction in
                let names = Names(transaction)
                let pairs = try transaction.keyPairs.list(scope, request.page(call.commands(in: transaction)))
                return try request.document(pairs) {
                    try KeyPairResource.encode($0, names)
                }
            }
        },
        Route(
            .post, "/v1/keypairs", "Add an ssh key", .keyPairCreate, body: .json(creation),
            replies: [(201, .one(KeyPairResource.created))], leadsTo: "/v1/keypairs/{ref}", handler: create),
        Route(
            .get, "/v1/keypairs/{ref}", "Show an ssh key", .keyPairRead, replies: [(200, .one(KeyPairResource.schema))]
        ) { call in
            try await call.read { transaction in
                let pair = try call.commands(in: transaction).keyPair(call.parameter("ref"))
                return call.resource(try KeyPairResource.encode(pair, Names(transaction)))
            }
        },
        Route(
            .patch, "/v1/keypairs/{ref}", "Rename an ssh key", .keyPairChange, body: .json(change),
            replies: [(200, .one(KeyPairResource.schema))], isConditional: true
        ) { call in
            let (actor, now) = (try call.actor, call.now)
            return try await call.write { transaction in
                let pair = try call.commands(in: transaction).keyPair(call.parameter("ref"))
                let names = Names(transaction)
                try call.checkMatch(try KeyPairResource.encode(pair, names))
                let renamed = try call.services.keyPairs.rename(
                    pair, to: call.body["name"]?.string ?? pair.name, by: actor, at: now, in: transaction)
                return .document(try KeyPairResource.encode(renamed, names), tag: true)
            }
        },
        Route(
            .delete, "/v1/keypairs/{ref}", "Remove an ssh key; guests keep the keys they were made with",
            .keyPairDelete,
            replies: [(204, .empty)], isConditional: true
        ) { call in
            let actor = try call.actor
            let now = call.now
            return try await call.write { transaction in
                let pair = try call.commands(in: transaction).keyPair(call.parameter("ref"))
                try call.checkMatch(try KeyPairResource.encode(pair, Names(transaction)))
                try call.services.keyPairs.remove(pair, by: actor, at: now, in: transaction)
                return .noContent
            }
        },
    ]

    @Sendable private static func create(_ call: Call) async throws -> Answer {
        let (actor, now) = (try call.actor, call.now)
        let name = call.body.text("name")
        let (key, secret) = try keys(call.body["public_key"]?.string, comment: name)
        return try await call.write { transaction in
            let pair = try call.services.keyPairs.create(name: name, key: key, by: actor, at: now, in: transaction)
            var answer = Answer.created(
                try KeyPairResource.encode(pair, Names(transaction), privateKey: secret), at: "/v1/keypairs/\(pair.id)")
            answer.isSecret = secret != nil
            return answer
        }
    }

    /// The key that was sent, or a new one with its other half, which is kept nowhere.
    private static func keys(_ text: String?, comment: String) throws(Refusal) -> (SSHPublicKey, secret: String?) {
        if let text { return (try publicKey(text), nil) }
        let made = SSHKeyPair(comment: comment)
        return (try publicKey(made.publicKey), made.privateKey)
    }

    private static func publicKey(_ text: String) throws(Refusal) -> SSHPublicKey {
        do throws(SSHPublicKey.Refused) {
            return try SSHPublicKey(text)
        } catch {
            throw Refusal(
                .invalidRequest, "the public key cannot be accepted: \(error.description)",
                fields: [Refusal.Field(pointer: "/public_key", detail: error.description)])
        }
    }
}
