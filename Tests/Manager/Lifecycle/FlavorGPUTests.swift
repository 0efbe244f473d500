import ManagerModel
import ProtocolModel
import Testing

@testable import ManagerLifecycle

@Suite("GPUs of flavors")
struct FlavorGPUTests {
    private static func gpus(_ properties: [String: String]) -> Int {
        Flavor(
            id: .generate(at: Timestamp(milliseconds: 1)), name: "f", vcpus: 1, ramMiB: 1, diskGiB: 1,
            properties: properties, createdAt: Timestamp(milliseconds: 1)
        ).gpus
    }

    @Test(
        "the property says how many; else the devices that are passed on count",
        arguments: [
            ([:], 0), (["k": "v"], 0), (["gpus": "2"], 2), (["gpus": "0", "pci_passthrough:alias": "nic:2"], 0),
            (["pci_passthrough:alias": "a100:2"], 2), (["pci_passthrough:alias": "a100:2,t4"], 3),
        ] as [([String: String], Int)])
    func count(_ properties: [String: String], _ count: Int) {
        #expect(Self.gpus(properties) == count)
        #expect(FlavorProperties.read(properties).faults.isEmpty)
    }

    @Test(
        "what cannot be read is refused with the flavor, and counts as none where it is recorded all the same",
        arguments: [
            ["gpus": "many"], ["gpus": "-1"], ["gpus": "1025"], ["pci_passthrough:alias": ""],
            ["pci_passthrough:alias": "a100:0"], ["pci_passthrough:alias": "a100:1:2"],
            ["pci_passthrough:alias": ":2"], ["pci_passthrough:alias": "a,"],
            ["pci_passthrough:alias": "a:1000,b:1000"],
        ] as [[String: String]])
    func refusal(_ properties: [String: String]) async throws {
        #expect(Self.gpus(properties) == 0)
        let record = try await TestRecord(hosts: 0)
        let refusal = try await record.refused(.invalidRequest, by: record.root) {
            try $0.createFlavor(name: "f", vcpus: 1, ramMiB: 1, diskGiB: 1, properties: properties)
        }
        #expect(refusal?.fields.first?.pointer == "/properties/\(properties.keys.first ?? "")")
    }
}
