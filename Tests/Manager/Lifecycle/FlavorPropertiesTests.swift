import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

@Suite("Properties of flavors")
struct FlavorPropertiesTests {
    @Test("what is known is read, what is the site's own is compared with aggregates or left alone")
    func reading() {
        let reading = FlavorProperties.read([
            "pci_passthrough:alias": "t4:1, a100:2", "gpu": "true", "gpus": "3", "hw:cpu_policy": "shared",
            "hw:mem_page_size": "small", "tier": "gold", "aggregate_instance_extra_specs:ssd": "<or> a <or> b",
            "site:owner": "physics", "placement:opportunistic": "first", "hw_video:ram_max_mb": "64",
            "quota:disk_read_iops_sec": "100", "quota:vif_outbound_average": "1000",
        ])
        #expect(reading.faults == [])
        let found = reading.requirements
        #expect(found.devices == [.init(alias: "a100", count: 2), .init(alias: "t4", count: 1)])
        #expect(found.aggregates.map(\.key) == ["ssd", "gpu", "tier"])
        #expect(found.opportunistic == .first)
        #expect(found.videoRAMMiB == 64)
        #expect(found.limits == [.diskReadRequests: 100, .outboundAverage: 1000])
    }

    @Test(
        "what does not go with the flavor's size is refused as such",
        arguments: [("hw:numa_nodes", "3"), ("hw:mem_page_size", "large"), ("hw:mem_page_size", "1GB")])
    func sizes(_ property: (key: String, value: String)) async throws {
        let record = try await TestRecord(hosts: 0)
        let refusal = try await record.refused(.unprocessable, by: record.root) {
            try $0.createFlavor(
                name: "f", vcpus: 2, ramMiB: 1025, diskGiB: 1, properties: [property.key: property.value])
        }
        #expect(refusal?.fields.first?.pointer == "/properties/\(property.key)")
        let fits = try await record.request(by: record.root) {
            try $0.createFlavor(
                name: "f", vcpus: 3, ramMiB: 2048, diskGiB: 1, properties: [property.key: property.value])
        }
        #expect(fits.properties.count == 1)
    }

    @Test(
        "what cannot be read is refused, with the key and what it must be",
        arguments: [
            ("gpu", "yes"), ("hw:cpu_policy", "mine"), ("hw:numa_nodes", "0"), ("hw:mem_page_size", "3MB"),
            ("hw_video:ram_max_mb", "a"), ("quota:disk_read_iops_sec", "-1"), ("quota:disk_read_iops", "1"),
            ("hw:cpu_polciy", "shared"), ("placement:opportunistic", "maybe"), ("tier", "<all-in> a b"),
            ("tier", ">= many"), ("aggregate_instance_extra_specs:", "a"), ("a b", "c"), ("a", "b\nc"),
            ("pci_passthrough:alias", "a:1,a:2"), ("pci_passthrough:alias", "a,b,c,d,e,f,g,h,i"),
        ])
    func faults(_ property: (key: String, value: String)) {
        let reading = FlavorProperties.read([property.key: property.value])
        #expect(reading.faults.count == 1)
        #expect(reading.refusal(of: "flavor 'f'")?.code == .invalidRequest)
    }

    @Test(
        "limits that cannot be together are refused as such",
        arguments: [
            ["quota:disk_total_bytes_sec": "9", "quota:disk_read_bytes_sec": "8"], ["quota:vif_inbound_burst": "8"],
        ])
    func limits(_ properties: [String: String]) {
        #expect(FlavorProperties.read(properties).refusal(of: "flavor 'f'")?.code == .unprocessable)
    }

    @Test(
        "a requirement is met by one value of several",
        arguments: [
            ("gold", ["gold", "silver"], true), ("gold", ["silver"], false), ("gold", [], false), ("false", [], true),
            ("true", [], false), ("false", ["true"], false), ("s!= gold", ["gold"], false),
            ("s== gold", ["gold"], true),
            ("<in> ol", ["gold"], true), ("<or> iron <or> gold", ["gold"], true),
            ("<or> iron <or> tin", ["gold"], false),
            (">= 4", ["3.5", "4"], true), ("= 4", ["3"], false), ("<= 4", ["x"], false), ("== 4", ["4.0"], true),
            ("!= 4", ["4"], false),
        ] as [(String, [String], Bool)])
    func requirement(_ text: String, _ values: [String], _ isMet: Bool) {
        #expect(AggregateRequirement(key: "k", value: text)?.accepts(values) == isMet)
    }

    @Test("a flavor recorded before its properties were checked can be renamed, and makes no instance")
    func oldFlavor() async throws {
        let record = try await TestRecord(hosts: 1)
        let old = Flavor(
            id: .generate(at: record.now), name: "old", vcpus: 1, ramMiB: 16, diskGiB: 10,
            properties: ["hw:cpu_policy": "exclusive"], createdAt: record.now)
        try await record.store.write { try $0.flavors.insert(old) }
        var renamed = old
        renamed.name = "older"
        let wanted = renamed
        _ = try await record.request(by: record.root) { try $0.updateFlavor(wanted) }
        try await record.refused(.unprocessable, by: record.root) {
            try $0.createInstances(InstanceCreation(name: "i", flavor: "older", image: "debian"))
        }
        var changed = renamed
        changed.properties["gpus"] = "2"
        let other = changed
        try await record.refused(.invalidRequest, by: record.root) { try $0.updateFlavor(other) }
    }
}
