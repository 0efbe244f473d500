import ManagerModel

/// The site's rules about devices.
enum DeviceRuleResource {
    private static let digits = Schema.nullable(
        hexadecimal(4, "must be four hexadecimal digits, as lspci -n prints them"))
    private static let classDigits = Schema.nullable(
        .string(
            TextRule(
                lengths: 2...6, pattern: "^([0-9A-Fa-f]{2}){1,3}$",
                wanted: "must be the first two, four or six hexadecimal digits of a class, such as 03 or 0302",
                allows: { $0.utf8.count % 2 == 0 && isHexadecimal($0) })))
    private static let address = Schema.nullable(
        .string(
            TextRule(
                lengths: 1...16, pattern: "^[0-9A-Fa-f:.*]+$",
                wanted: "must be an address such as 0000:3b:00.0, with * for any characters",
                allows: { $0.utf8.allSatisfy { isHexadecimal($0) || [0x2A, 0x2E, 0x3A].contains($0) } })))

    /// What is left out, or null, is not looked at.
    static let match = ObjectSchema(
        "DeviceMatch",
        [
            .init("vendor_id", digits, "such as 10de"), .init("product_id", digits, "such as 11bf"),
            .init("subsystem_vendor_id", digits), .init("subsystem_product_id", digits),
            .init("class", classDigits, "the beginning of the class: 03 for displays, 0302 for 3D controllers"),
            .init("address", address, "such as 0000:3b:*"),
            .init("name", .nullable(.line(1...256)), "vendor and product, such as *GRID K2*; case does not count"),
            .init("node", .nullable(.line(1...253)), "the node's name, such as cn4*"),
        ])

    private static let member = Schema.string(
        TextRule(
            lengths: 12...16, pattern: "^[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\\.[0-7]$",
            wanted: "must be an address such as 0000:3b:00.0",
            allows: { $0.wholeMatch(of: /[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]/) != nil }))
    static let sets = Schema.array(
        .array(member, minimum: 1, maximum: DeviceRule.maximumSetSize), maximum: DeviceRule.maximumSets)

    static let schema = ObjectSchema.answer(
        "DeviceRule",
        [
            ("id", .identifier), ("action", .choice(DeviceRule.Action.allCases.map(\.rawValue))),
            ("alias", .nullable(.text)), ("match", .object(match)), ("sets", sets), ("description", .text),
            ("created_at", .time), ("updated_at", .time),
        ])

    static func encode(_ rule: DeviceRule) -> JSONValue {
        [
            "id": .text(rule.id), "action": .string(rule.action.rawValue),
            "alias": .text(rule.alias.isEmpty ? nil : rule.alias), "match": encode(rule.match),
            "sets": .array(rule.sets.map { .texts($0) }), "description": .string(rule.description),
            "created_at": .text(rule.createdAt),
            "updated_at": .text(rule.updatedAt),
        ]
    }

    /// - Returns: `nil` where the request does not say.
    static func sets(_ value: JSONValue?) -> [[String]]? {
        value?.array.map { sets in sets.map { ($0.array ?? []).compactMap(\.string) } }
    }

    private static func encode(_ match: DeviceMatch) -> JSONValue {
        let members: [(String, String?)] = [
            ("vendor_id", match.vendor.map { PCIDevice.digits($0, 4) }),
            ("product_id", match.product.map { PCIDevice.digits($0, 4) }),
            ("subsystem_vendor_id", match.subsystemVendor.map { PCIDevice.digits($0, 4) }),
            ("subsystem_product_id", match.subsystemProduct.map { PCIDevice.digits($0, 4) }),
            ("class", match.classPrefix), ("address", match.address), ("name", match.name), ("node", match.node),
        ]
        return .object(members.compactMap { name, text in text.map { .init(name, .string($0)) } })
    }

    /// A match as a request changes it: what is left out stays, and `null` is looked at no longer (RFC 7396).
    static func merged(_ change: JSONValue?, into present: DeviceMatch) -> DeviceMatch {
        var match = present
        for member in change?.members ?? [] {
            let text = member.value.string
            let number = text.flatMap { Int($0, radix: 16) }
            switch member.name {
            case "vendor_id": match.vendor = number
            case "product_id": match.product = number
            case "subsystem_vendor_id": match.subsystemVendor = number
            case "subsystem_product_id": match.subsystemProduct = number
            case "class": match.classPrefix = text?.lowercased()
            case "address": match.address = text?.lowercased()
            case "name": match.name = text
            case "node": match.node = text
            // The schema lets no other through.
            default: break
            }
        }
        return match
    }

    private static func hexadecimal(_ count: Int, _ wanted: String) -> Schema {
        .string(
            TextRule(
                lengths: count...count, pattern: "^[0-9A-Fa-f]{\(count)}$", wanted: wanted,
                allows: { isHexadecimal($0) }))
    }

    private static func isHexadecimal(_ text: String) -> Bool { text.utf8.allSatisfy { isHexadecimal($0) } }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...70).contains(byte) || (97...102).contains(byte)
    }
}
