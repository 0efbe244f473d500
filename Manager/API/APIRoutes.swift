import HTTPTypes
import ManagerModel

/// Every route that the manager serves, in the order of the document.
enum APIRoutes {
    static let all: [Route] =
        SiteRoutes.routes + SiteSettingRoutes.routes + DocumentRoutes.routes + TokenRoutes.routes
        + AuthorizeRoutes.routes + DeviceRoutes.routes + OAuthMetadataRoutes.routes + UserRoutes.routes
        + RegistrationRoutes.routes + AccountPages.routes + WhitelistRoutes.routes + MasqueradeRoutes.routes
        + AccountRoutes.routes
        + GroupRoutes.routes + RoleRoutes.routes
        + APIKeyRoutes.routes + SigningKeyRoutes.routes
        + KeyPairRoutes.routes + FlavorRoutes.routes + ImageRoutes.routes + ImageCacheRoutes.routes
        + PrefillPolicyRoutes.routes + InstanceRoutes.routes + ServerGroupRoutes.routes + NodeRoutes.routes
        + AggregateRoutes.routes + PlacementRoutes.routes + PCIDeviceRoutes.routes + DeviceRuleRoutes.routes
        + ManagerRoutes.routes + QuotaRoutes.routes
        + OperationRoutes.routes
        + UsageRoutes.routes + EventRoutes.routes + SiteRoutes.absent
}

/// The API's own description.
enum DocumentRoutes {
    static let routes: [Route] = [
        Route(
            .get, "/v1/openapi.json", "This document", .apiDocumentRead,
            replies: [(200, .text(type: "application/json"))]
        ) { call in
            Answer(status: 200, body: .prepared(call.services.document))
        },
        Route(
            .get, "/v1/docs", "This document, for people", .apiDocumentRead,
            replies: [(200, .text(type: DocumentPage.type))]
        ) { call in
            Answer(
                status: 200,
                headers: [("Content-Security-Policy", DocumentPage.policy), ("Referrer-Policy", "no-referrer")],
                body: .prepared(call.services.documentPage))
        },
    ]
}
