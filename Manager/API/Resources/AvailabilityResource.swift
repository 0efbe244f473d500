import ManagerLifecycle
import ManagerModel
import ProtocolModel

/// When a node may be used, in requests and answers.
enum AvailabilityResource {
    static let schema = ObjectSchema.answer(
        "NodeAvailability", [("windows", .text), ("time_zone", .text), ("owner", .text), ("reason", .text)])
    static let change = ObjectSchema(
        "NodeAvailabilityChange",
        [
            .init(
                "windows", .line(1...2000),
                required: true, "such as: 20:00-06:00 Mon-Fri drain from 05:30 mode shutdown; 00:00-24:00 Sat,Sun"),
            .init("time_zone", .line(1...64), required: true, "a name of the IANA database, such as Europe/Berlin"),
            .init("reason", .line(0...500)),
        ])
    static let moment = Schema.nullable(
        .string(
            TextRule(
                lengths: 10...40, format: "date-time", wanted: "must be a time such as 2027-01-31T12:00:00Z",
                allows: { Timestamp($0) != nil })))

    static func encode(_ availability: Availability?) -> JSONValue {
        guard let availability else { return .null }
        return [
            "windows": .string(availability.text), "time_zone": .string(availability.timeZone),
            "owner": .string(availability.owner), "reason": .string(availability.reason),
        ]
    }

    static func read(_ value: JSONValue, owner: String) throws(Refusal) -> Availability? {
        guard value.members != nil else { return nil }
        do throws(Availability.TextError) {
            return try Availability(
                text: value.text("windows"), timeZone: value.text("time_zone"), owner: owner,
                reason: value.text("reason"))
        } catch {
            throw Refusal(
                .unprocessable, error.description,
                fields: [.init(pointer: "/availability", detail: error.description)])
        }
    }
}
