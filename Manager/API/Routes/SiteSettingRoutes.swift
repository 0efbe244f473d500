import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore

/// What the site as a whole is set to.
enum SiteSettingRoutes {
    static let site = ObjectSchema.answer("Site", [("transfer", .object(TransferResource.site))])
    static let change = ObjectSchema("SiteChange", [.init("transfer", .object(TransferResource.siteChange))])

    static let routes: [Route] = [
        Route(.get, "/v1/site", "Show the site's settings", .siteRead, replies: [(200, .one(site))]) { call in
            try await call.read { transaction in
                call.resource(encode(try call.commands(in: transaction).siteTransfers()))
            }
        },
        Route(
            .patch, "/v1/site", "Change the site's settings", .siteChange, body: .json(change),
            replies: [(200, .one(site))], isConditional: true
        ) { call in
            try await call.write { transaction in
                let commands = try call.commands(in: transaction)
                try call.checkMatch(encode(try commands.siteTransfers()))
                let transfers = try commands.updateSiteTransfers { transfers in
                    TransferResource.apply(call.body["transfer"] ?? .null, to: &transfers)
                }
                return .document(encode(transfers), tag: true)
            }
        },
    ]

    private static func encode(_ transfers: SiteTransfers) -> JSONValue {
        ["transfer": TransferResource.encode(transfers)]
    }
}
