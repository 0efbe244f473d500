import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

enum PrefillPolicyRoutes {
    static let creation = ObjectSchema(
        "PrefillPolicyCreation",
        [
            .init("name", .nullable(.name(maximum: 128)), "made of image and aggregate if not given"),
            .init("image", .reference, required: true, "a name follows the image that has it, an ID does not"),
            .init("aggregate", .nullable(.reference), "all enabled nodes if not given"),
        ])
    static let change = ObjectSchema(
        "PrefillPolicyChange",
        [
            .init("name", .name(maximum: 128)), .init("image", .reference),
            .init("enabled", .boolean, "false: nothing more is sent"),
        ])

    static let routes: [Route] = [
        Route(
            .get, "/v1/image-policies", "List images that nodes get by themselves", .imagePrefill,
            query: Listings.policies.query, replies: [(200, .list(PrefillPolicyResource.item))]
        ) { call in
            let request = try Listings.policies.request(call)
            return try await call.read { transaction in
                let (names, commands) = (Names(transaction), try call.commands(in: transaction))
                let policies = try transaction.prefillPolicies.list(request.page(commands))
                return try request.document(policies) {
                    try PrefillPolicyResource.item($0, names, commands)
                }
            }
        },
        Route(
            .post, "/v1/image-policies", "Let nodes get an image by themselves, also those that come later",
            .imagePrefill, body: .json(creation), replies: [(201, .one(PrefillPolicyResource.schema))],
            leadsTo: "/v1/image-policies/{ref}"
        ) { call in
            try await call.write { transaction in
                let commands = try call.commands(in: transaction)
                let policy = try commands.createPrefillPolicy(
                    name: call.body["name"]?.string, image: call.body.text("image"),
                    aggregate: call.body["aggregate"]?.string)
                return .created(
                    try PrefillPolicyResource.encode(policy, Names(transaction), commands),
                    at: "/v1/image-policies/\(policy.id)")
            }
        },
        Route(
            .get, "/v1/image-policies/{ref}", "Show a policy, and which nodes still lack its image", .imagePrefill,
            replies: [(200, .one(PrefillPolicyResource.schema))]
        ) { call in
            try await call.read { transaction in
                let commands = try call.commands(in: transaction)
                let policy = try commands.prefillPolicy(call.parameter("ref"))
                return call.resource(try PrefillPolicyResource.encode(policy, Names(transaction), commands))
            }
        },
        Route(
            .patch, "/v1/image-policies/{ref}", "Change a policy's image, or let it rest", .imagePrefill,
            body: .json(change), replies: [(200, .one(PrefillPolicyResource.schema))], isConditional: true
        ) { call in
            try await call.write { transaction in
                let (names, commands) = (Names(transaction), try call.commands(in: transaction))
                let policy = try commands.prefillPolicy(call.parameter("ref"))
                try call.checkMatch(try PrefillPolicyResource.encode(policy, names, commands))
                let changed = try commands.updatePrefillPolicy(
                    policy.id.description, name: call.body["name"]?.string, image: call.body["image"]?.string,
                    isEnabled: call.body["enabled"]?.boolean)
                return .document(try PrefillPolicyResource.encode(changed, names, commands), tag: true)
            }
        },
        Route(
            .delete, "/v1/image-policies/{ref}", "Delete a policy; copies that it brought stay", .imagePrefill,
            replies: [(204, .empty)], isConditional: true
        ) { call in
            try await call.write { transaction in
                let commands = try call.commands(in: transaction)
                let policy = try commands.prefillPolicy(call.parameter("ref"))
                try call.checkMatch(try PrefillPolicyResource.encode(policy, Names(transaction), commands))
                _ = try commands.deletePrefillPolicy(policy.id.description)
                return .noContent
            }
        },
    ]
}
