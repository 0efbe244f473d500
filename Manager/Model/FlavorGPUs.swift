/// GPUs in a flavor, as limits count them.
///
/// The property `gpus` says how many an instance has. Where it is absent, the devices that `pci_passthrough:alias` asks for
/// count, such as 3 for `a100:2,t4`: a site that passes on other devices than GPUs sets `gpus`, too.
extension Flavor {
    static let gpuProperty = "gpus"
    public static let aliasProperty = "pci_passthrough:alias"
    /// More than a host can have, and as many as an agent takes for one guest.
    static let maximumGPUs = 256

    /// The names by which the flavor asks for devices; those of a property that cannot be read are none.
    public var deviceAliases: Set<String> { Set(devices.map(\.alias)) }

    /// What its instances are given; nothing where the property cannot be read.
    public var devices: [FlavorRequirements.Devices] {
        properties[Self.aliasProperty].flatMap(FlavorProperties.devices) ?? []
    }

    /// As many as the properties say; 0 where they say nothing, or nothing that can be read (`FlavorProperties`).
    public var gpus: Int {
        // Nearly every flavor.
        guard !properties.isEmpty else { return 0 }
        let counts = 0...Self.maximumGPUs
        if let text = properties[Self.gpuProperty] {
            return Int(text).flatMap { counts.contains($0) ? $0 : nil } ?? 0
        }
        let sum = properties[Self.aliasProperty].flatMap(FlavorProperties.devices)?.reduce(0) { $0 + $1.count } ?? 0
        return counts.contains(sum) ? sum : 0
    }
}
