import HTTPTypes
import ManagerLifecycle
import ManagerModel
import ProtocolModel

/// Starting what fits (HLT-27).
enum NodeFillRoute {
    static let request = ObjectSchema(
        "NodeFilling",
        [
            .init("flavor", .reference, required: true), .init("image", .reference, required: true),
            .init("name", .name(maximum: 100), required: true, "of the instances, which get a number"),
            .init("key_name", .nullable(.reference), "an ssh key of yours"),
            .init("user_data", .nullable(.string(InstanceRoutes.userDataRule)), "base64, at most 64 KiB decoded"),
            .init("metadata", .properties),
            .init("server_group", .nullable(.reference), "one of yours, whose policy says how many a host gets"),
            .init("limit", .integer(1...1000), "1000 if not given"),
            .init("dry_run", .boolean, "true if not given: says how many, and starts none"),
        ])
    static let answer = ObjectSchema.answer(
        "NodeFilled", [("dry_run", .boolean), ("count", .count), ("stopped_by", .text), ("detail", .text)])

    static let route = Route(
        .post, "/v1/nodes/fill", "Start as many instances as fit on the enabled nodes", .instanceCreate,
        body: .json(request), replies: [(200, .one(answer))]
    ) { call in
        let body = call.body
        let isDryRun = body["dry_run"]?.boolean ?? true
        let creation = InstanceCreation(
            name: body.text("name"), flavor: body.text("flavor"), image: body.text("image"),
            keyName: body["key_name"]?.string, userData: try InstanceRoutes.userData(body["user_data"]?.string),
            metadata: body.texts("metadata") ?? [:], serverGroup: body["server_group"]?.string)
        let limit = body.count("limit") ?? 1000
        guard !isDryRun else {
            return try await call.read { transaction in
                document(try call.commands(in: transaction).fillEstimate(creation, limit: limit), isDryRun: true)
            }
        }
        return try await call.write { transaction in
            document(try call.commands(in: transaction).fillNodes(creation, limit: limit), isDryRun: false)
        }
    }

    private static func document(_ result: FillResult, isDryRun: Bool) -> Answer {
        .document([
            "dry_run": .boolean(isDryRun), "count": .count(result.count), "stopped_by": .string(result.stoppedBy),
            "detail": .string(result.detail),
        ])
    }
}
