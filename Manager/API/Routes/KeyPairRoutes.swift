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
                "public_key", .string(TextRule(lengths: 1...SSHPublicKey.maximumBytes)), required: true,
                "one line in OpenSSH's format"),
        ])

    static let routes: [Route] = [
        Route(
            .get, "/v1/keypairs", "List ssh keys", .keyPairRead, query: QueryParameter.page,
            replies: [(200, .list(KeyPairResource.schema))]
        ) { call in
            let scope = try call.scope(.keyPairRead)
            let request = try PageRequest(call.query, list: "keypairs")
            return try await call.read { transaction in
                let names = Names(transaction)
                let pairs = try transaction.keyPairs.list(scope, request.page)
                return try request.document(pairs, place: { $0.id.description }) {
                    try KeyPairResource.encode($0, names)
                }
            }
        },
        Route(
            .post, "/v1/keypairs", "Add an ssh key", .keyPairCreate, body: .json(creation),
            replies: [(201, .one(KeyPairResource.schema))]
        ) { call in
            let actor = try call.actor
            let key = try publicKey(call.body["public_key"]?.string ?? "")
            let now = call.now
            return try await call.write { transaction in
                let pair = try call.services.keyPairs.create(
                    name: call.body["name"]?.string ?? "", key: key, by: actor, at: now, in: transaction)
                return .created(try KeyPairResource.encode(pair, Names(transaction)), at: "/v1/keypairs/\(pair.id)")
            }
        },
        Route(
            .get, "/v1/keypairs/{ref}", "Show an ssh key", .keyPairRead, replies: [(200, .one(KeyPairResource.schema))]
        ) { call in
            try await call.read { transaction in
                let pair = try call.commands(in: transaction).keyPair(call.parameter("ref"))
                return call.resource(try KeyPairResource.encode(pair, Names(transaction)))
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
