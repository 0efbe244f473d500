import AgentDevices
import Foundation
import Logging
import ProtocolMessages
import ProtocolModel
import SwiftProtobuf

extension DeviceSurvey {
    convenience init(_ settings: AgentSettings) {
        self.init(
            scanner: HostScanner(sysfsRoot: settings.sysfs), policy: settings.devicePolicy,
            namesPath: settings.deviceNames)
    }
}

/// The devices of this host that guests may have, for the inventory.
struct DeviceList: Sendable {
    let survey: DeviceSurvey
    /// What is known of devices that are held or out of service.
    var standings: @Sendable () -> [String: DeviceStanding] = { [:] }
    let logger: Logger

    /// A host without a PCI bus has none.
    var messages: [Roost_V1_PCIDevice] {
        do {
            let standings = standings()
            return try survey.devices().map { device in
                Self.message(device, standings[device.offer.device.address], of: standings)
            }
        } catch {
            logger.debug("no PCI devices", metadata: ["reason": "\(error)"])
            return []
        }
    }

    /// - Parameter standings: of all devices: what goes along with one keeps it, too.
    static func message(
        _ surveyed: SurveyedDevice, _ standing: DeviceStanding? = nil, of standings: [String: DeviceStanding] = [:]
    ) -> Roost_V1_PCIDevice {
        let offer = surveyed.offer
        let device = offer.device
        return .with {
            $0.address = device.address
            $0.vendor = device.vendor
            $0.product = device.product
            $0.classCode = device.classCode
            $0.iommuGroup = device.iommuGroup.map { Int32(clamping: $0) } ?? -1
            $0.numaNode = device.numaNode.map { Int32(clamping: $0) } ?? -1
            $0.driver = device.driver ?? ""
            $0.subsystemVendor = device.subsystemVendor
            $0.subsystemProduct = device.subsystemProduct
            $0.vendorName = surveyed.names.vendor ?? ""
            $0.productName = surveyed.names.product ?? ""
            $0.groupMembers = offer.companions
            $0.isBootDisplay = device.isBootDisplay
            $0.virtualFunctionsTotal = UInt32(clamping: device.virtualFunctionsTotal)
            $0.virtualFunctionsOf = device.physicalFunction ?? ""
            $0.mediatedTypes = device.mediatedTypes.map { type in
                .with {
                    $0.id = type.id
                    $0.name = type.name
                    $0.available = UInt32(clamping: type.available)
                }
            }
            $0.isUsable = offer.isUsable
            $0.unusableReason = offer.reasons.map(\.description).joined(separator: "; ")
            $0.heldBy = standing?.claim?.instance.bytes ?? Data()
            $0.heldSinceMs = standing?.heldSince?.milliseconds ?? 0
            $0.holdState = standing?.hold?.message ?? .unspecified
            $0.quarantineReason = standing?.quarantine?.reason ?? companionTrouble(offer, standings) ?? ""
            $0.quarantinedAtMs = standing?.quarantine?.since.milliseconds ?? 0
        }
    }
}

extension DeviceList {
    /// A GPU without its sound cannot be claimed: whoever were given it would only fail.
    private static func companionTrouble(_ offer: DeviceOffer, _ standings: [String: DeviceStanding]) -> String? {
        for address in offer.companions {
            guard let reason = standings[address]?.quarantine?.reason else { continue }
            return "\(address), which goes along with it, is out of service: \(reason)"
        }
        return nil
    }
}

extension DeviceStanding.Hold {
    fileprivate var message: Roost_V1_DeviceHoldState {
        switch self {
        case .claimed: .claimed
        case .attached: .attached
        case .cleaning: .cleaning
        }
    }
}
