import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

enum AccountRoutes {
    static let creation = ObjectSchema(
        "AccountCreation",
        [
            .init("name", .name(), required: true, "stands in records of usage, and never changes"),
            .init("description", .line(0...256)),
        ])
    static let change = ObjectSchema(
        "AccountChange",
        [
            .init("description", .line(0...256)),
            .init("owner", .nullable(.reference), "one of its users, who manages the others; null: superusers alone"),
            .init("enabled", .boolean, "nobody of an account that is not enabled may sign in"),
        ])

    static let routes: [Route] = [
        Route(
            .get, "/v1/accounts", "List accounts: your own, or all", .accountRead, query: Listings.accounts.query,
            replies: [(200, .list(AccountResource.schema))]
        ) { call in
            let scope = try call.scope(.accountRead)
            let request = try Listings.accounts.request(call)
            return try await call.read { transaction in
                let names = Names(transaction)
                let accounts = try transaction.accounts.list(scope, request.page(call.commands(in: transaction)))
                return try request.document(accounts) {
                    try AccountResource.encode($0, names, in: transaction)
                }
            }
        },
        Route(
            .post, "/v1/accounts", "Create an account", .accountCreate, body: .json(creation),
            replies: [(201, .one(AccountResource.schema))], leadsTo: "/v1/accounts/{ref}"
        ) { call in
            let (actor, now) = (try call.actor, call.now)
            return try await call.write { transaction in
                let account = try call.services.accounts.create(
                    name: call.body.text("name"), description: call.body["description"]?.string ?? "", by: actor,
                    at: now, in: transaction)
                return .created(
                    try AccountResource.encode(account, Names(transaction), in: transaction),
                    at: "/v1/accounts/\(account.id)")
            }
        },
        Route(
            .get, "/v1/accounts/{ref}", "Show an account", .accountRead, replies: [(200, .one(AccountResource.schema))]
        ) { call in
            try await call.read { transaction in
                let account = try call.commands(in: transaction).account(call.parameter("ref"))
                return call.resource(try AccountResource.encode(account, Names(transaction), in: transaction))
            }
        },
        Route(
            .patch, "/v1/accounts/{ref}", "Change an account", .accountChange, body: .json(change),
            replies: [(200, .one(AccountResource.schema))], isConditional: true, handler: update),
        Route(
            .delete, "/v1/accounts/{ref}", "Delete an account that nobody is in", .accountDelete,
            replies: [(204, .empty)], isConditional: true
        ) { call in
            let (actor, now) = (try call.actor, call.now)
            return try await call.write { transaction in
                let account = try call.commands(in: transaction).account(call.parameter("ref"))
                try call.checkMatch(try AccountResource.encode(account, Names(transaction), in: transaction))
                try call.services.accounts.remove(account, by: actor, at: now, in: transaction)
                return .noContent
            }
        },
    ]

    @Sendable private static func update(_ call: Call) async throws -> Answer {
        let (actor, now) = (try call.actor, call.now)
        return try await call.write { transaction in
            let commands = try call.commands(in: transaction)
            let account = try commands.account(call.parameter("ref"))
            let names = Names(transaction)
            try call.checkMatch(try AccountResource.encode(account, names, in: transaction))
            var change = AccountService.Change(
                description: call.body["description"]?.string, enabled: call.body["enabled"]?.boolean)
            if let owner = call.body["owner"] {
                change.owner = .some(try owner.string.map { try commands.user($0).id })
            }
            let changed = try call.services.accounts.change(account, change, by: actor, at: now, in: transaction)
            return .document(try AccountResource.encode(changed, names, in: transaction), tag: true)
        }
    }
}
