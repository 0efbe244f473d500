/// GPUs in a flavor, as limits count them.
///
/// The property `gpus` says how many an instance has. Where it is absent, the devices that `pci_passthrough:alias` asks for
/// count, such as 3 for `a100:2,t4`: a site that passes on other devices than GPUs sets `gpus`, too.
extension Flavor {
    static let gpuProperty = "gpus"
    static let aliasProperty = "pci_passthrough:alias"
    /// More than a host can have.
    static let maximumGPUs = 1024

    /// As many as the properties say; 0 where they say nothing, or nothing that can be read (`gpuObjection`).
    public var gpus: Int { (try? Self.gpus(in: properties)) ?? 0 }

    /// What is wrong with what a flavor's properties say of GPUs; `nil`: nothing.
    public static func gpuObjection(to properties: [String: String]) -> Refusal.Field? {
        do throws(GPUFault) {
            _ = try gpus(in: properties)
            return nil
        } catch {
            return Refusal.Field(pointer: "/properties/\(error.property)", detail: error.detail)
        }
    }

    struct GPUFault: Error {
        var property: String
        var detail: String
    }

    private static func gpus(in properties: [String: String]) throws(GPUFault) -> Int {
        // Nearly every flavor.
        guard !properties.isEmpty else { return 0 }
        if let text = properties[gpuProperty] {
            guard let count = Int(text), (0...maximumGPUs).contains(count) else {
                throw GPUFault(property: gpuProperty, detail: "must be a whole number from 0 to \(maximumGPUs)")
            }
            return count
        }
        guard let text = properties[aliasProperty] else { return 0 }
        var sum = 0
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let words = part.split(separator: ":", omittingEmptySubsequences: false)
            guard words.count <= 2, let name = words.first, name.contains(where: { $0 != " " }),
                let count = words.count == 1 ? 1 : Int(words[1]), (1...maximumGPUs).contains(count)
            else {
                throw GPUFault(
                    property: aliasProperty, detail: "must be a list such as 'a100:2,t4': names, each with a number")
            }
            sum += count
        }
        guard sum <= maximumGPUs else {
            throw GPUFault(property: aliasProperty, detail: "asks for more than \(maximumGPUs) devices")
        }
        return sum
    }
}
