/// A device with what people call it, and whether a guest may have it.
public struct SurveyedDevice: Sendable, Equatable {
    public var offer: DeviceOffer
    public var names: DeviceNames
}

/// The devices of this host as they are now.
public final class DeviceSurvey: Sendable {
    private let scanner: HostScanner
    private let policy: DevicePolicy
    private let names: PCINameFile

    /// - Parameter namesPath: the `pci.ids` database; where it is missing, devices have no names.
    public init(
        scanner: HostScanner, policy: DevicePolicy = DevicePolicy(), namesPath: String = "/usr/share/misc/pci.ids"
    ) {
        self.scanner = scanner
        self.policy = policy
        names = PCINameFile(path: namesPath)
    }

    /// - Parameter all: with those that are of no interest to guests.
    public func devices(all: Bool = false) throws(PCIScanner.Failure) -> [SurveyedDevice] {
        let offers = DeviceOffers(try scanner.scan(), policy: policy).all.filter { all || $0.isOfInterest }
        return zip(offers, names.names(of: offers.map(\.device))).map { SurveyedDevice(offer: $0, names: $1) }
    }
}
