import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

/// Which devices guests may be given, and by what alias.
enum DeviceRuleRoutes {
    private static let match = Schema.object(DeviceRuleResource.match)
    static let creation = ObjectSchema(
        "DeviceRuleCreation",
        [
            .init(
                "action", .choice(DeviceRule.Action.allCases.map(\.rawValue)), required: true,
                "alias: devices that fit have the alias; allow: where there is such a rule, only devices that fit one are "
                    + "given to guests; deny: devices that fit never are; partition: devices that fit are given to a guest "
                    + "only as one of the rule's sets"),
            .init("alias", .name(), "with alias alone: what flavors ask for"),
            .init("match", match, required: true, "all that is named must hold"),
            .init(
                "sets", DeviceRuleResource.sets,
                "with partition alone: addresses of devices of one host that may go together; a set counts on the hosts that "
                    + "have all of it"), .init("description", .line(0...256)),
        ])
    static let change = ObjectSchema(
        "DeviceRuleChange",
        [
            .init("alias", .name()), .init("match", match, "merged with what is there"),
            .init("sets", DeviceRuleResource.sets, "in place of those that are there"),
            .init("description", .line(0...256)),
        ])
    private static let path = "/v1/device-rules"

    static let routes: [Route] = [
        Route(
            .get, path, "List rules about devices", .deviceRuleRead, query: Listings.deviceRules.query,
            replies: [(200, .list(DeviceRuleResource.schema))]
        ) { call in
            let request = try Listings.deviceRules.request(call)
            return try await call.read { transaction in
                request.document(
                    try transaction.devices.rules(request.page(call.commands(in: transaction))),
                    encode: DeviceRuleResource.encode)
            }
        },
        Route(
            .post, path, "Make a rule about devices; it counts at once", .deviceRuleCreate, body: .json(creation),
            replies: [(201, .one(DeviceRuleResource.schema))], leadsTo: path + "/{id}"
        ) { call in
            guard let action = DeviceRule.Action(rawValue: call.body.text("action")) else {
                throw Refusal(.invalidRequest, "'action' must be one of those that the document names")
            }
            return try await call.write { transaction in
                let rule = try call.commands(in: transaction).createDeviceRule(
                    action, alias: call.body.text("alias"),
                    match: DeviceRuleResource.merged(call.body["match"], into: DeviceMatch()),
                    sets: DeviceRuleResource.sets(call.body["sets"]) ?? [],
                    description: call.body.text("description"))
                return .created(DeviceRuleResource.encode(rule), at: "\(path)/\(rule.id)")
            }
        },
        Route(
            .get, path + "/{id}", "Show a rule about devices", .deviceRuleRead,
            replies: [(200, .one(DeviceRuleResource.schema))]
        ) { call in
            try await call.read { transaction in
                let rule = try call.commands(in: transaction).deviceRule(call.parameter("id"))
                return call.resource(DeviceRuleResource.encode(rule))
            }
        },
        Route(
            .patch, path + "/{id}", "Change a rule's alias, match, sets or description", .deviceRuleChange,
            body: .json(change),
            replies: [(200, .one(DeviceRuleResource.schema))], isConditional: true
        ) { call in
            try await call.write { transaction in
                let commands = try call.commands(in: transaction)
                let rule = try commands.deviceRule(call.parameter("id"))
                try call.checkMatch(DeviceRuleResource.encode(rule))
                let changed = try commands.updateDeviceRule(
                    rule.id.description, alias: call.body["alias"]?.string,
                    match: DeviceRuleResource.merged(call.body["match"], into: rule.match),
                    sets: DeviceRuleResource.sets(call.body["sets"]),
                    description: call.body["description"]?.string)
                return .document(DeviceRuleResource.encode(changed), tag: true)
            }
        },
        Route(
            .delete, path + "/{id}", "Delete a rule; the last one of an alias stays while a flavor asks for it",
            .deviceRuleDelete, replies: [(204, .empty)], isConditional: true
        ) { call in
            try await call.write { transaction in
                let commands = try call.commands(in: transaction)
                let rule = try commands.deviceRule(call.parameter("id"))
                try call.checkMatch(DeviceRuleResource.encode(rule))
                _ = try commands.deleteDeviceRule(rule.id.description)
                return .noContent
            }
        },
    ]
}
