import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

/// What tells nothing about anybody: health, metrics, the document of the API itself.
enum SiteRoutes {
    static let health = ObjectSchema.answer("Health", [("status", .choice(["ok"]))])
    static let readiness = ObjectSchema.answer(
        "Readiness", [("status", .choice(["ready", "not_ready"])), ("reasons", .array(.text, maximum: 100))])

    static let routes: [Route] = [
        Route(.get, "/healthz", "Whether the manager runs", .siteStatusRead, replies: [(200, .one(health))]) { _ in
            .document(["status": "ok"])
        },
        Route(
            .get, "/readyz", "Whether the manager takes requests, or leads", .siteStatusRead,
            query: [
                QueryParameter(
                    "role", .choice(["leader"]), "Also not ready where another manager leads: for the agents' proxy.")
            ],
            replies: [(200, .one(readiness)), (503, .one(readiness))]
        ) { call in
            var reasons = await call.services.readiness()
            if call.query.string("role") == "leader", !call.services.leads() { reasons.append("another manager leads") }
            return .document(
                ["status": reasons.isEmpty ? "ready" : "not_ready", "reasons": .texts(reasons)],
                status: reasons.isEmpty ? 200 : 503)
        },
        Route(
            .get, "/metrics", "Numbers for Prometheus", .siteStatusRead, replies: [(200, .text(type: "text/plain"))]
        ) { call in
            Answer(
                status: 200,
                body: .bytes(Array(await call.services.metrics.render().utf8), type: MetricsPage.type))
        },
    ]

    /// Announced, not served by this version: every method that a resource of its kind has.
    static let absent: [Route] = [
        "volumes", "networks", "floating-ips",
    ].flatMap { name in
        let (list, item) = ("/v1/\(name)", "/v1/\(name)/{ref}")
        return [
            Route(absent: .get, list, .notYetServed, name), Route(absent: .post, list, .notYetServed, name),
            Route(absent: .get, item, .notYetServed, name), Route(absent: .patch, item, .notYetServed, name),
            Route(absent: .delete, item, .notYetServed, name),
        ]
    }
}
