import Crypto
import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

enum NodeRoutes {
    private static let ratio = Schema.number(AggregateRules.ratios)
    private static let followed = "null: as its aggregates say, else the default"
    private static let references = Schema.array(.reference, minimum: 1, maximum: 10_000)
    static let change = ObjectSchema(
        "NodeChange",
        [
            .init("cpu_allocation_ratio", .nullable(ratio), followed),
            .init("ram_allocation_ratio", .nullable(ratio), followed),
            .init("disk_allocation_ratio", .nullable(ratio), followed), .init("location", .line(0...128)),
            .init("opportunistic", .boolean, "whether the host may be taken back at any time"),
            .init(
                "dedicated_cpus", .nullable(.line(0...1024)),
                "processors that a guest may have alone, such as 4-31,36-63; null: none"),
            .init("transfer", .object(TransferResource.change), "null: as the site says"),
            .init(
                "availability", .nullable(.object(AvailabilityResource.change)),
                "when the node may be used; null: always"),
        ])
    static let enabling = ObjectSchema(
        "NodeEnabling",
        [
            .init("nodes", references, required: true),
            .init("until", AvailabilityResource.moment, "then the nodes' windows decide, or they are disabled"),
        ])
    static let disabling = ObjectSchema(
        "NodeDisabling",
        [
            .init("nodes", references, required: true),
            .init("dry_run", .boolean, "true if not given: changes nothing"),
            .init(
                "vm_timeout_seconds", .integer(0...86_400), "how long guests may take to shut down; 300 if not given"),
            .init("force_shutoff", .boolean, "force off what still runs then"), .init("reason", .line(0...500)),
            .init(
                "mode", .choice(DrainMode.allCases.map(\.rawValue)),
                "stop: ask guests to shut down; shutdown: and force off those that do not; wait: until they end by "
                    + "themselves, then as stop; migrate: not built yet; stop if not given"),
            .init(
                "wait_seconds", .integer(0...31_536_000), "with wait: how long guests may go on; 86400 if not given"),
            .init("parallel", .integer(1...10_000), "nodes that are emptied at a time; all if not given"),
            .init("until", AvailabilityResource.moment, "then the nodes' windows decide, or they are enabled"),
        ])
    static let confirmation = ObjectSchema(
        "NodeDownConfirmation",
        [
            .init("nodes", references, required: true),
            .init("dry_run", .boolean, "true if not given: changes nothing"),
            .init("reason", .line(0...500), "how that is known; kept in the event log"),
        ])
    static let windows = ObjectSchema(
        "NodeWindows",
        [
            .init("nodes", references, required: true),
            .init(
                "availability", .nullable(.object(AvailabilityResource.change)), required: true,
                "when the nodes may be used; null: always"),
            .init("dry_run", .boolean, "true if not given: changes nothing"),
        ])
    static let tokenRequest = ObjectSchema(
        "JoinTokenRequest",
        [
            .init("ttl_seconds", .integer(1...2_592_000), "3600 if not given"),
            .init("node_name", .nullable(.name(maximum: 253)), "the only node that may use it"),
        ])
    static let action = ObjectSchema.answer(
        "NodeAction", [("node", .text), ("ok", .boolean), ("action", .text), ("detail", .text)])
    static let plan = ObjectSchema.answer(
        "NodePlan",
        [("node", .text), ("ok", .boolean), ("detail", .text), ("actions", .array(.text, maximum: 100_000))])
    static let actions = ObjectSchema.answer("NodeActions", [("items", .array(.object(action), maximum: 10_000))])
    static let plans = ObjectSchema.answer(
        "NodePlans", [("dry_run", .boolean), ("items", .array(.object(plan), maximum: 10_000))])
    static let token = ObjectSchema.answer(
        "JoinToken", [("token", .text), ("expires_at", .time), ("ca_fingerprint", .text), ("manager_address", .text)])

    static let routes: [Route] = [
        Route(
            .get, "/v1/nodes", "List nodes", .nodeRead,
            query: Listings.nodes.query,
            replies: [(200, .list(NodeResource.item))]
        ) { call in
            let request = try Listings.nodes.request(call)
            return try await call.read { transaction in
                let nodes = try transaction.nodes.list(request.page(call.commands(in: transaction)))
                // The page need not be in the order of the identifiers.
                let ids = nodes.map(\.id)
                let addresses = try transaction.instances.addresses(from: ids.min(), through: ids.max())
                let rules = try NodeResource.Rules(of: nodes, in: transaction)
                let lost = try NodeResource.lossCounts(of: nodes, in: transaction)
                return request.document(nodes) {
                    NodeResource.item($0, addresses: addresses, ratios: rules.ratios(of: $0), lost: lost)
                }
            }
        },
        Route(.get, "/v1/nodes/{ref}", "Show a node", .nodeRead, replies: [(200, .one(NodeResource.schema))]) { call in
            try await call.read { transaction in
                let node = try call.commands(in: transaction).node(call.parameter("ref"))
                return call.resource(try NodeResource.encode(node, Names(transaction), in: transaction))
            }
        },
        Route(
            .patch, "/v1/nodes/{ref}", "Change a node's overcommit, location, limits or windows", .nodeChange,
            body: .json(change),
            replies: [(200, .one(NodeResource.schema))], isConditional: true, handler: update),
        Route(
            .delete, "/v1/nodes/{ref}", "Forget a node that holds no instance", .nodeDelete, replies: [(204, .empty)],
            isConditional: true
        ) { call in
            try await call.write { transaction in
                let commands = try call.commands(in: transaction)
                let node = try commands.node(call.parameter("ref"))
                try call.checkMatch(try NodeResource.encode(node, Names(transaction), in: transaction))
                _ = try commands.removeNode(node.id.description)
                return .noContent
            }
        },
        Route(
            .post, "/v1/nodes/enable", "Let nodes take instances", .nodeChange, body: .json(enabling),
            replies: [(200, .one(actions))]
        ) { call in
            try await call.write { transaction in
                let done = try call.commands(in: transaction).enableNodes(
                    try named(call), until: call.body["until"]?.string.flatMap { Timestamp($0) })
                return .document([
                    "items": .array(
                        done.map {
                            [
                                "node": .string($0.node), "ok": .boolean($0.ok),
                                "action": .string((["enable node"] + $0.actions).joined(separator: "; ")),
                                "detail": .string($0.detail),
                            ]
                        })
                ])
            }
        },
        Route(
            .post, "/v1/nodes/disable", "Take nodes out of service, or show what that would do", .nodeChange,
            body: .json(disabling), replies: [(200, .one(plans)), (202, .one(OperationResource.schema))],
            leadsTo: "/v1/operations/{id}",
            handler: disable),
        Route(
            .post, "/v1/nodes/confirm-down", "Say that lost nodes are off, or show what that would do", .nodeChange,
            body: .json(confirmation), replies: [(200, .one(plans))], handler: confirmDown),
        Route(
            .post, "/v1/nodes/windows", "Give nodes windows or take them away, or show what that would do", .nodeChange,
            body: .json(windows), replies: [(200, .one(plans))], handler: setWindows),
        Route(
            .post, "/v1/nodes/tokens", "Create a token with which a node joins, shown once", .nodeTokenCreate,
            body: .optionalJSON(tokenRequest), replies: [(201, .one(token))], answersSecret: true,
            handler: createToken),
        NodeFillRoute.route,
    ]

    @Sendable private static func update(_ call: Call) async throws -> Answer {
        let body = call.body
        return try await call.write { transaction in
            let commands = try call.commands(in: transaction)
            let names = Names(transaction)
            let node = try commands.node(call.parameter("ref"))
            try call.checkMatch(try NodeResource.encode(node, names, in: transaction))
            var changed = try commands.updateNode(node.id.description) { node in
                if let ratio = body["cpu_allocation_ratio"] { node.cpuAllocationRatio = ratio.number }
                if let ratio = body["ram_allocation_ratio"] { node.ramAllocationRatio = ratio.number }
                if let ratio = body["disk_allocation_ratio"] { node.diskAllocationRatio = ratio.number }
                if let location = body["location"]?.string { node.location = location }
                if let isOpportunistic = body["opportunistic"]?.boolean { node.isOpportunistic = isOpportunistic }
                TransferResource.apply(body["transfer"] ?? .null, to: &node.transferLimits)
            }
            if let value = body["dedicated_cpus"] {
                changed = try commands.setDedicatedCPUs(node.id.description, to: value.string)
            }
            if let value = body["availability"] {
                let availability = try AvailabilityResource.read(value, owner: try call.actor.name)
                try refuseEmptying(node, availability, commands)
                changed = try commands.setAvailability(node.id.description, availability)
            }
            return .document(try NodeResource.encode(changed, names, in: transaction), tag: true)
        }
    }

    /// What stops guests is asked for by its name.
    private static func refuseEmptying(
        _ node: Node, _ availability: Availability?, _ commands: Commands
    ) throws {
        let actions = try commands.planAvailability([node.id.description], availability).flatMap(\.actions)
        let stopped = actions.count { $0.contains("stop instance ") }
        guard stopped > 0 else { return }
        throw Refusal(
            .conflict,
            "these windows are shut now, so that node '\(node.name)' would be emptied of \(stopped) instance"
                + "\(stopped == 1 ? "" : "s"); POST /v1/nodes/windows shows that, and does it with dry_run false")
    }

    @Sendable private static func setWindows(_ call: Call) async throws -> Answer {
        let references = try named(call)
        let availability = try AvailabilityResource.read(
            call.body["availability"] ?? .null, owner: try call.actor.name)
        guard call.body["dry_run"]?.boolean == false else {
            return try await call.read { transaction in
                plan(try call.commands(in: transaction).planAvailability(references, availability), isDryRun: true)
            }
        }
        return try await call.write { transaction in
            plan(
                try call.commands(in: transaction).setAvailability(of: references, availability), isDryRun: false)
        }
    }

    private static func plan(_ actions: [NodeAction], isDryRun: Bool) -> Answer {
        .document([
            "dry_run": .boolean(isDryRun),
            "items": .array(
                actions.map {
                    [
                        "node": .string($0.node), "ok": .boolean($0.ok), "detail": .string($0.detail),
                        "actions": .texts($0.actions),
                    ]
                }),
        ])
    }

    @Sendable private static func disable(_ call: Call) async throws -> Answer {
        let body = call.body
        let references = try named(call)
        let order = DrainOrder(
            mode: body["mode"]?.string.flatMap { DrainMode(rawValue: $0) } ?? .stop,
            waitSeconds: body.count("wait_seconds") ?? DrainOrder.usualWaitSeconds,
            vmTimeoutSeconds: body.count("vm_timeout_seconds") ?? 300,
            forceShutoff: body["force_shutoff"]?.boolean ?? false, reason: body["reason"]?.string ?? "",
            parallel: body.count("parallel") ?? .max, until: body["until"]?.string.flatMap { Timestamp($0) })
        guard body["dry_run"]?.boolean == false else {
            return try await call.read { transaction in
                plan(try call.commands(in: transaction).planDisabling(references, order), isDryRun: true)
            }
        }
        return try await call.write { transaction in
            let operation = try call.commands(in: transaction).disableNodes(references, order)
            return .accepted(try OperationResource.encode(operation, Names(transaction)), operation: operation.id)
        }
    }

    /// Whoever asks vouches that the machines run nothing: their instances may be started elsewhere from then on.
    @Sendable private static func confirmDown(_ call: Call) async throws -> Answer {
        let references = try named(call)
        guard call.body["dry_run"]?.boolean == false else {
            return try await call.read { transaction in
                plan(try call.commands(in: transaction).planConfirmingDown(references), isDryRun: true)
            }
        }
        let reason = call.body["reason"]?.string ?? ""
        return try await call.write { transaction in
            plan(try call.commands(in: transaction).confirmDown(references, reason: reason), isDryRun: false)
        }
    }

    @Sendable private static func createToken(_ call: Call) async throws -> Answer {
        let secret = JoinSecret.fresh()
        let site = call.services.site
        return try await call.write { transaction in
            let token = try call.commands(in: transaction).createJoinToken(
                secretHash: secret.hash, nodeName: call.body["node_name"]?.string,
                lifetimeSeconds: call.body.count("ttl_seconds") ?? 3600)
            return .document(
                [
                    "token": .string(secret.text), "expires_at": .text(token.expiresAt),
                    "ca_fingerprint": .string("sha256:\(site.authorityFingerprint)"),
                    "manager_address": .string(site.agentAddress),
                ], status: 201)
        }
    }

    private static func named(_ call: Call) throws(Refusal) -> [String] {
        let nodes = call.body["nodes"]?.array?.compactMap(\.string) ?? []
        guard !nodes.isEmpty else {
            throw Refusal(
                .invalidRequest, "nodes is empty; name at least one",
                fields: [.init(pointer: "/nodes", detail: "must have at least one entry")])
        }
        return nodes
    }
}

/// The secret of a join token: 256 random bits in text, of which only the SHA-256 is kept.
struct JoinSecret: Sendable {
    let text: String
    let hash: ContentDigest

    static func fresh() -> JoinSecret {
        let bytes = SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) }
        let text = "rjt_" + bytes.hexadecimal
        guard let hash = ContentDigest(bytes: SHA256.hash(data: Array(text.utf8))) else {
            preconditionFailure("SHA-256 has 32 bytes")
        }
        return JoinSecret(text: text, hash: hash)
    }
}
