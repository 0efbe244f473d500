import AgentDevices
import Foundation
import ProtocolModel

/// Devices as a person reads them on a terminal.
struct DeviceTable {
    private static let heads = ["ADDRESS", "ID", "NAME", "GROUP", "NUMA", "DRIVER", "HELD BY", "USABLE"]
    private static let maximumNameLength = 60

    let lines: [String]

    init(_ devices: [SurveyedDevice], _ standings: [String: DeviceStanding] = [:]) {
        let rows = [Self.heads] + devices.map { Self.row($0, standings[$0.offer.device.address]) }
        let widths = Self.heads.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        lines = rows.map { row in
            zip(row, widths).dropLast()
                .map { $0 + String(repeating: " ", count: $1 - $0.count + 2) }.joined() + row[row.count - 1]
        }
    }

    static func none(_ policy: DevicePolicy) -> String {
        let classes = policy.classes.map(\.description).joined(separator: ", ")
        return "no device of the classes \(classes.isEmpty ? "(none)" : classes) (devices.classes); "
            + "--all lists those of all classes"
    }

    private static func row(_ surveyed: SurveyedDevice, _ standing: DeviceStanding?) -> [String] {
        let device = surveyed.offer.device
        return [
            device.address, device.id, name(surveyed.names), device.iommuGroup.map { "\($0)" } ?? "-",
            device.numaNode.map { "\($0)" } ?? "-", device.driver ?? "-", holder(standing),
            standing?.quarantine.map { "no: out of service since \($0.since): \($0.reason)" }
                ?? verdict(surveyed.offer),
        ]
    }

    private static func holder(_ standing: DeviceStanding?) -> String {
        guard let standing, let hold = standing.hold else { return "-" }
        let instance = standing.claim.map { "\($0.instance)" } ?? "nobody"
        return switch hold {
        case .attached: instance
        case .claimed: "\(instance) (starts)"
        case .cleaning: "\(instance) (being reset)"
        }
    }

    private static func name(_ names: DeviceNames) -> String {
        let text =
            names.product == nil
            ? [names.vendor, names.deviceClass].compactMap { $0 }.joined(separator: " ")
            : names.text
        if text.isEmpty { return "-" }
        return text.count > maximumNameLength ? text.prefix(maximumNameLength - 1) + "…" : text
    }

    private static func verdict(_ offer: DeviceOffer) -> String {
        if !offer.isUsable { return "no: " + offer.reasons.map(\.description).joined(separator: "; ") }
        return offer.companions.isEmpty ? "yes" : "yes, with " + offer.companions.joined(separator: " ")
    }
}

/// Devices as programs read them.
struct DeviceDocument: Encodable {
    struct MediatedType: Encodable {
        let id: String
        let name: String
        let available: Int
    }

    let address: String
    let id: String
    let subsystemId: String
    let classCode: String
    let vendorName: String?
    let productName: String?
    let subsystemName: String?
    let className: String?
    let iommuGroup: Int?
    let groupMembers: [String]
    let numaNode: Int?
    let driver: String?
    let isBootDisplay: Bool
    let virtualFunctionsTotal: Int
    let virtualFunctions: [String]
    let virtualFunctionOf: String?
    let mediatedTypes: [MediatedType]
    let reset: String
    let resetMethods: [String]
    let powerState: String?
    let isOfInterest: Bool
    let isUsable: Bool
    let goesWith: [String]
    let unusableReasons: [String]
    let heldBy: String?
    let holdState: String?
    let heldSince: String?
    let quarantineReason: String?
    let quarantinedAt: String?

    init(_ surveyed: SurveyedDevice, _ standing: DeviceStanding?) {
        let offer = surveyed.offer
        let device = offer.device
        address = device.address
        id = device.id
        subsystemId = device.subsystemID
        classCode = device.classText
        vendorName = surveyed.names.vendor
        productName = surveyed.names.product
        subsystemName = surveyed.names.subsystem
        className = surveyed.names.deviceClass
        iommuGroup = device.iommuGroup
        groupMembers = offer.groupMembers
        numaNode = device.numaNode
        driver = device.driver
        isBootDisplay = device.isBootDisplay
        virtualFunctionsTotal = device.virtualFunctionsTotal
        virtualFunctions = device.virtualFunctions
        virtualFunctionOf = device.physicalFunction
        mediatedTypes = device.mediatedTypes.map { MediatedType(id: $0.id, name: $0.name, available: $0.available) }
        reset =
            switch offer.reset {
            case .function: "function"
            case .bus: "bus"
            case .none: "none"
            }
        resetMethods = device.resetMethods
        powerState = device.powerState
        isOfInterest = offer.isOfInterest
        isUsable = offer.isUsable
        goesWith = offer.companions
        unusableReasons = offer.reasons.map(\.description)
        heldBy = standing?.claim.map { "\($0.instance)" }
        holdState = standing?.hold.map { "\($0)" }
        heldSince = standing?.heldSince?.description
        quarantineReason = standing?.quarantine?.reason
        quarantinedAt = standing?.quarantine?.since.description
    }

    static func text(_ devices: [SurveyedDevice], _ standings: [String: DeviceStanding] = [:]) throws -> String {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(
            decoding: try encoder.encode(devices.map { Self($0, standings[$0.offer.device.address]) }), as: UTF8.self)
    }
}
