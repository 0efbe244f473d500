import HTTPTypes
import ManagerIdentity
import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel

/// Devices of the nodes, for who looks after them.
enum PCIDeviceRoutes {
    private static let quarantine = ObjectSchema(
        "DeviceQuarantine", [.init("reason", .line(1...500), required: true, "for whoever wonders later")])
    private static let path = "/v1/devices"

    static let routes: [Route] = [
        Route(
            .get, path, "List devices that guests could be given, and why some cannot be", .deviceRead,
            query: Listings.devices.query + [
                QueryParameter("alias", .name(), "Only those that can be asked for by this alias.")
            ],
            replies: [(200, .list(DeviceResource.schema))]
        ) { call in
            let request = try Listings.devices.request(call)
            let alias = call.query.string("alias")
            return try await call.read { transaction in
                request.document(
                    try transaction.devices.hosted(alias: alias, request.page(call.commands(in: transaction))),
                    encode: DeviceResource.encode)
            }
        },
        Route(.get, path + "/{id}", "Show a device", .deviceRead, replies: [(200, .one(DeviceResource.schema))]) {
            call in
            try await call.read { transaction in
                call.resource(DeviceResource.encode(try call.commands(in: transaction).device(call.parameter("id"))))
            }
        },
        Route(
            .post, path + "/{id}/quarantine", "Keep a device out of service; who has it keeps it", .deviceChange,
            body: .json(quarantine), replies: [(200, .one(DeviceResource.schema))]
        ) { call in try await change(call, reason: call.body.text("reason")) },
        Route(
            .post, path + "/{id}/release", "Let a device back into service", .deviceChange,
            replies: [(200, .one(DeviceResource.schema))]
        ) { call in try await change(call, reason: nil) },
        Route(
            .get, "/v1/device-aliases", "Count the devices of each alias: free, in use, and why others are not",
            .deviceRead,
            query: Listings.deviceAliases.query, replies: [(200, .list(DeviceAliasResource.schema))]
        ) { call in
            let request = try Listings.deviceAliases.request(call)
            return try await call.read { transaction in
                let numbers = try call.commands(in: transaction).deviceNumbers()
                return request.document(request.page(of: numbers), encode: DeviceAliasResource.encode)
            }
        },
    ]

    private static func change(_ call: Call, reason: String?) async throws -> Answer {
        try await call.write { transaction in
            let device = try call.commands(in: transaction).quarantineDevice(call.parameter("id"), reason: reason)
            return .document(DeviceResource.encode(device), tag: true)
        }
    }
}
