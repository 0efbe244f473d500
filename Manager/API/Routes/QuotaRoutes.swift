import HTTPTypes
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

/// Limits of users and accounts, what is used of them, and what the site has.
enum QuotaRoutes {
    static let routes: [Route] = [
        Route(
            .get, "/v1/quotas", "List limits and use of accounts, or of users, as far as you may see them", .quotaRead,
            query: Listings.accountQuotas.query + [
                QueryParameter("kind", .choice(["account", "user"]), "Whose; accounts' if not given.")
            ], replies: [(200, .list(QuotaDocument.schema))], handler: list),
        Route(
            .get, "/v1/accounts/{ref}/quota", "Show the limits of an account and what its users have", .quotaRead,
            replies: [(200, .one(QuotaDocument.schema))]
        ) { call in
            try await call.read { transaction in
                let quota = try call.commands(in: transaction).quota(ofAccount: call.parameter("ref"))
                return call.resource(try QuotaDocument.encode(quota, Names(transaction)))
            }
        },
        Route(
            .patch, "/v1/accounts/{ref}/quota", "Set limits of an account", .accountQuotaChange,
            body: .json(QuotaDocument.change), replies: [(200, .one(QuotaDocument.schema))], isConditional: true
        ) { call in
            let change = QuotaDocument.change(call.body)
            return try await call.write { transaction in
                let (commands, names) = (try call.commands(in: transaction), Names(transaction))
                let account = try commands.account(call.parameter("ref"))
                try call.checkMatch(try QuotaDocument.encode(commands.quota(of: account), names))
                let quota = try commands.changeQuota(of: account, change)
                return .document(try QuotaDocument.encode(quota, names), tag: true)
            }
        },
        Route(
            .get, "/v1/users/{ref}/quota", "Show the limits of a user ('me': your own) and what they have", .quotaRead,
            replies: [(200, .one(QuotaDocument.schema))]
        ) { call in
            try await call.read { transaction in
                let quota = try call.commands(in: transaction).quota(ofUser: call.parameter("ref"))
                return call.resource(try QuotaDocument.encode(quota, Names(transaction)))
            }
        },
        Route(
            .patch, "/v1/users/{ref}/quota", "Set limits of a user: up to what the account has, for its owner",
            .quotaChange, body: .json(QuotaDocument.change), replies: [(200, .one(QuotaDocument.schema))],
            isConditional: true
        ) { call in
            let change = QuotaDocument.change(call.body)
            return try await call.write { transaction in
                let (commands, names) = (try call.commands(in: transaction), Names(transaction))
                let user = try commands.user(call.parameter("ref"))
                try call.checkMatch(try QuotaDocument.encode(commands.quota(of: user), names))
                let quota = try commands.changeQuota(of: user, change)
                return .document(try QuotaDocument.encode(quota, names), tag: true)
            }
        },
        Route(
            .get, "/v1/quota-defaults", "Show the limits of whoever has none of their own", .quotaRead,
            replies: [(200, .one(QuotaDocument.defaults))]
        ) { call in
            try await call.read { transaction in
                let defaults = try call.commands(in: transaction).quotaDefaults()
                return call.resource(try QuotaDocument.encode(defaults, Names(transaction)))
            }
        },
        Route(
            .patch, "/v1/quota-defaults", "Set limits of whoever has none of their own", .quotaDefaultChange,
            body: .json(QuotaDocument.defaultsChange), replies: [(200, .one(QuotaDocument.defaults))],
            isConditional: true
        ) { call in
            let (users, accounts) = (
                QuotaDocument.change(call.body["users"]), QuotaDocument.change(call.body["accounts"])
            )
            return try await call.write { transaction in
                let (commands, names) = (try call.commands(in: transaction), Names(transaction))
                try call.checkMatch(try QuotaDocument.encode(commands.quotaDefaults(), names))
                let defaults = try commands.changeQuotaDefaults(users: users, accounts: accounts)
                return .document(try QuotaDocument.encode(defaults, names), tag: true)
            }
        },
        Route(
            .get, "/v1/quota-summary", "Show limits beside what the site has: they may add up to more", .siteRead,
            replies: [(200, .one(QuotaSummaryDocument.schema))]
        ) { call in
            try await call.read { transaction in
                .document(QuotaSummaryDocument.encode(try call.commands(in: transaction).quotaSummary()))
            }
        },
    ]

    @Sendable private static func list(_ call: Call) async throws -> Answer {
        let kind = call.query.string("kind") ?? "account"
        let scope = try call.scope(.quotaRead)
        guard kind == "user" else {
            let request = try Listings.accountQuotas.request(call)
            return try await call.read { transaction in
                let (commands, names) = (try call.commands(in: transaction), Names(transaction))
                return try request.document(transaction.accounts.list(scope, request.page(commands))) {
                    try QuotaDocument.encode(commands.quota(of: $0), names)
                }
            }
        }
        let request = try Listings.userQuotas.request(call)
        return try await call.read { transaction in
            let (commands, names) = (try call.commands(in: transaction), Names(transaction))
            return try request.document(transaction.users.list(scope, request.page(commands))) {
                try QuotaDocument.encode(commands.quota(of: $0), names)
            }
        }
    }
}
