import Foundation
import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

enum InstanceRoutes {
    static let creation = ObjectSchema(
        "InstanceCreation",
        [
            .init("name", .name(maximum: 128), required: true), .init("flavor", .reference, required: true),
            .init("image", .reference, required: true), .init("key_name", .nullable(.reference), "an ssh key of yours"),
            .init(
                "user_data",
                .nullable(.string(userDataRule)), "base64, at most 64 KiB decoded"),
            .init("metadata", .properties),
            .init("count", .integer(1...1000), "1 if not given; more are named NAME-1 and on"),
            .init("node", .nullable(.reference), "a host of the operator's choice"),
            .init(
                "exclude_nodes", .array(.reference, maximum: 10_000), "hosts that the operator leaves out"),
            .init(
                "availability_zone", .nullable(.line(1...255)),
                "only hosts whose aggregates name this zone; any host if not given"),
            .init("server_group", .nullable(.reference), "one of yours, whose policy says where it may go"),
            .init("host_name", .nullable(.hostName)),
            .init("on_host_loss", InstanceResource.hostLossPolicy, InstanceResource.hostLossHelp),
            .init("queue", .boolean, "what finds no room now waits for it, rather than being refused"),
            .init(
                "priority",
                .integer(Int64(QueueEntry.priorities.lowerBound)...Int64(QueueEntry.priorities.upperBound)),
                "where it stands among those that wait; 0 if not given; above 0 for operators alone"),
            .init("preemptible", .boolean, "yields its room to instances that are not, after a notice to its guest"),
            .init(
                "on_preemption", .nullable(.choice(Preemption.allCases.map(\.rawValue))),
                "with preemptible: whether it then waits in the queue (the default), or stays stopped"),
        ])
    static let change = ObjectSchema(
        "InstanceChange",
        [
            .init("name", .name(maximum: 128)), .init("metadata", .propertiesPatch, "merged with what is there"),
            .init("on_host_loss", InstanceResource.hostLossPolicy, InstanceResource.hostLossHelp),
        ])
    static let power = ObjectSchema(
        "PowerRequest", [.init("force", .boolean, "without asking the guest; false if not given")])
    static let several = ObjectSchema.answer(
        "InstanceList", [("items", .array(.object(InstanceResource.schema), maximum: 1000))])

    /// Base64 of the largest user data.
    private static let userDataCharacters = (Limits.userDataBytes + 2) / 3 * 4
    static let userDataRule = TextRule(
        lengths: 0...userDataCharacters, pattern: "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")

    static let routes: [Route] = [
        Route(
            .get, "/v1/instances", "List instances", .instanceRead,
            query: Listings.instances.query + [
                QueryParameter("all", .boolean, "Everybody's; for a superuser."),
                QueryParameter("deleted", .boolean, "With deleted ones."),
            ],
            replies: [(200, .list(InstanceResource.schema))], handler: list),
        Route(
            .post, "/v1/instances", "Create an instance, or a list of several", .instanceCreate, body: .json(creation),
            replies: [(202, .one(InstanceResource.schema)), (202, .list(InstanceResource.schema))],
            leadsTo: "/v1/instances/{ref}", handler: create),
        Route(
            .get, "/v1/instances/{ref}", "Show an instance", .instanceRead,
            replies: [(200, .one(InstanceResource.schema))]
        ) { call in
            try await call.read { transaction in
                let instance = try call.commands(in: transaction).instance(call.parameter("ref"))
                return call.resource(try InstanceResource.encode(instance, Names(transaction)))
            }
        },
        Route(
            .patch, "/v1/instances/{ref}",
            "Rename an instance, change its metadata or what becomes of it when its host is lost", .instanceChange,
            body: .json(change),
            replies: [(200, .one(InstanceResource.schema))], isConditional: true
        ) { call in
            try await call.write { transaction in
                let commands = try call.commands(in: transaction)
                let instance = try commands.instance(call.parameter("ref"))
                let names = Names(transaction)
                try call.checkMatch(try InstanceResource.encode(instance, names))
                let changed = try commands.updateInstance(
                    instance.id.description, name: call.body["name"]?.string,
                    metadata: call.body.patched("metadata", instance.metadata),
                    onHostLoss: call.body["on_host_loss"]?.string.flatMap { HostLossPolicy(rawValue: $0) })
                return .document(try InstanceResource.encode(changed, names), tag: true)
            }
        },
        Route(
            .delete, "/v1/instances/{ref}", "Delete an instance, its disk and its address", .instanceDelete,
            replies: [(202, .one(InstanceResource.schema))], leadsTo: "/v1/instances/{ref}", isConditional: true
        ) { call in try await act(call) { try $0.deleteInstance($1) } },
        Route(
            .post, "/v1/instances/{ref}/start", "Start a stopped instance", .instancePower,
            body: .optionalJSON(starting),
            replies: [(202, .one(InstanceResource.schema))], leadsTo: "/v1/instances/{ref}", isConditional: true
        ) { call in
            let queues = call.body["queue"]?.boolean ?? false
            return try await act(call) { try $0.startInstance($1, queues: queues) }
        },
        Route(
            .post, "/v1/instances/{ref}/stop", "Stop an instance; its disk, address and name are kept", .instancePower,
            body: .optionalJSON(power), replies: [(202, .one(InstanceResource.schema))], leadsTo: "/v1/instances/{ref}",
            isConditional: true
        ) { call in
            let force = call.body["force"]?.boolean ?? false
            return try await act(call) { try $0.stopInstance($1, force: force) }
        },
        Route(
            .post, "/v1/instances/{ref}/reboot", "Reboot an instance", .instancePower, body: .optionalJSON(power),
            replies: [(202, .one(InstanceResource.schema))], leadsTo: "/v1/instances/{ref}", isConditional: true
        ) { call in
            let force = call.body["force"]?.boolean ?? false
            return try await act(call) { try $0.rebootInstance($1, force: force) }
        },
        Route(absent: .post, "/v1/instances/{ref}/console", .instanceConsole, "consoles"),
    ]

    private static let starting = ObjectSchema(
        "StartRequest",
        [.init("queue", .boolean, "where its node lacks what it needs, it waits for that; false if not given")])

    @Sendable private static func list(_ call: Call) async throws -> Answer {
        let actor = try call.actor
        let query = call.query
        if query.boolean("all") == true, !actor.rights.may(.instanceReadAll) {
            throw Refusal(.forbidden, "only a superuser may list everybody's instances")
        }
        if query.string("node") != nil, !actor.rights.may(.nodeRead) {
            throw Refusal(.forbidden, "only a superuser may list the instances of a node")
        }
        let scope = try call.scope(.instanceRead)
        let request = try Listings.instances.request(call)
        let isPlain = ["owner", "node", "flavor", "image", "server_group"].allSatisfy { query[$0] == nil }
        return try await call.list("instances", scope, isPlain: isPlain) { transaction in
            var filter = InstanceRepository.Filter()
            filter.scope = scope
            filter.includesDeleted =
                query.boolean("deleted") == true || query.string("status") == InstanceStatus.deleted.rawValue
            let page = try request.page(call.commands(in: transaction))
            let names = Names(transaction)
            return try request.document(try transaction.instances.list(filter, page)) {
                try InstanceResource.encode($0, names)
            }
        }
    }

    @Sendable private static func create(_ call: Call) async throws -> Answer {
        let body = call.body
        let excluded = body["exclude_nodes"]?.array?.compactMap(\.string) ?? []
        for (field, isGiven) in [("node", body["node"]?.string != nil), ("exclude_nodes", !excluded.isEmpty)]
        where isGiven {
            guard try call.actor.rights.may(.instancePin) else {
                throw Refusal(
                    .forbidden, "only a superuser may choose the node of an instance; leave '\(field)' out",
                    fields: [.init(pointer: "/\(field)", detail: "only for superusers")])
            }
        }
        let priority = body["priority"]?.integer ?? 0
        if priority > 0, try !call.actor.rights.may(.instancePriority) {
            throw Refusal(
                .forbidden, "only a superuser may give an instance a priority above 0; give 0 or less, or leave it out",
                fields: [.init(pointer: "/priority", detail: "above 0 only for superusers")])
        }
        let creation = InstanceCreation(
            name: body.text("name"), flavor: body.text("flavor"), image: body.text("image"),
            keyName: body["key_name"]?.string, userData: try userData(body["user_data"]?.string),
            metadata: body.texts("metadata") ?? [:], count: body.count("count") ?? 1, node: body["node"]?.string,
            excludedNodes: excluded, availabilityZone: body["availability_zone"]?.string,
            serverGroup: body["server_group"]?.string, hostName: body["host_name"]?.string,
            queues: body["queue"]?.boolean ?? false, priority: Int(priority), preemption: try preemption(body),
            onHostLoss: body["on_host_loss"]?.string.flatMap { HostLossPolicy(rawValue: $0) })
        return try await call.write { transaction in
            let created = try call.commands(in: transaction).createInstances(creation)
            let names = Names(transaction)
            let documents = try created.map { try InstanceResource.encode($0, names) }
            if creation.count == 1, let instance = created.first {
                return .accepted(documents[0], operation: instance.operation)
            }
            return .document(["items": .array(documents), "next": nil], status: 202)
        }
    }

    /// What becomes of it when another needs its room.
    private static func preemption(_ body: JSONValue) throws(Refusal) -> Preemption? {
        let isPreemptible = body["preemptible"]?.boolean ?? false
        guard let word = body["on_preemption"]?.string else { return isPreemptible ? .queue : nil }
        guard isPreemptible else {
            throw Refusal(
                .unprocessable,
                "'on_preemption' goes with preemptible instances alone; add 'preemptible', or leave it out",
                fields: [.init(pointer: "/on_preemption", detail: "goes with preemptible instances alone")])
        }
        return Preemption(rawValue: word)
    }

    static func userData(_ text: String?) throws(Refusal) -> [UInt8] {
        guard let text, !text.isEmpty else { return [] }
        guard let data = Data(base64Encoded: text), data.count <= Limits.userDataBytes else {
            throw Refusal(
                .invalidRequest, "user_data must be base64 of at most 64 KiB",
                fields: [.init(pointer: "/user_data", detail: "must be base64 of at most 64 KiB")])
        }
        return Array(data)
    }

    /// Changes what one instance should be; the answer is the instance as it is now, and where to ask how it goes on.
    private static func act(
        _ call: Call, _ body: @escaping @Sendable (Commands, String) throws -> Instance
    ) async throws -> Answer {
        try await call.write { transaction in
            let commands = try call.commands(in: transaction)
            let names = Names(transaction)
            let instance = try commands.instance(call.parameter("ref"))
            try call.checkMatch(try InstanceResource.encode(instance, names))
            let changed = try body(commands, instance.id.description)
            return .accepted(try InstanceResource.encode(changed, names), operation: changed.operation)
        }
    }
}
