import ManagerModel
import ManagerPlacement
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLifecycle

@Suite("Hardware of instances")
struct HardwareTests {
    /// The image says something of hardware, and so does a flavor; hosts heed it where they say so.
    private static func site(
        _ properties: [String: String], flavor: [String: String] = [:], heeds: Bool = true
    ) async throws -> TestRecord {
        let record = try await TestRecord(hosts: 2)
        _ = try await record.request(by: record.root) { commands in
            _ = try commands.updateImage(
                "debian", name: nil, visibility: nil, properties: properties, minDiskGiB: nil, minRAMMiB: nil)
            return try commands.createFlavor(name: "shaped", vcpus: 4, ramMiB: 512, diskGiB: 10, properties: flavor)
        }
        if heeds {
            try await record.store.write { sql in
                var node = try #require(try sql.nodes.find(name: "cn2"))
                node.inventory.shapesHardware = true
                try sql.nodes.update(node)
            }
        }
        return record
    }

    private static func create(_ record: TestRecord, flavor: String = "shaped") async throws -> Instance {
        try await record.request(by: record.ann) {
            try $0.createInstances(InstanceCreation(name: "i", flavor: flavor, image: "debian"))[0]
        }
    }

    @Test("what image and flavor say is recorded with the instance, and stays as it was when it was made")
    func recorded() async throws {
        let record = try await Self.site(
            ["hw_video_model": "qxl", "hw_video_ram": "8", "configure_x": "yes", "hw_disk_bus": "virtio", "site": "x"],
            flavor: ["hw_video:ram_max_mb": "64", "quota:disk_write_iops_sec": "200"])
        let made = try await Self.create(record)
        let expected = [
            "hw_video_model": "qxl", "hw_video_ram": "8", "configure_x": "true", "quota:disk_write_iops_sec": "200",
        ]
        #expect(made.hardware == expected)
        _ = try await record.request(by: record.root) {
            try $0.updateImage(
                "debian", name: nil, visibility: nil, properties: ["hw_disk_bus": "sata"], minDiskGiB: nil,
                minRAMMiB: nil)
        }
        #expect(try await record.instance(made.id).hardware == expected)
        #expect(try await record.node("cn2").id == made.node)
    }

    @Test("hosts whose agents would pass it over are left out, and told of; an ordinary guest goes anywhere")
    func oldAgents() async throws {
        let record = try await Self.site(["hw_disk_bus": "sata"], heeds: false)
        let refusal = try await record.refused(.noCapacity, by: record.ann) {
            try $0.createInstances(InstanceCreation(name: "i", flavor: "shaped", image: "debian"))
        }
        #expect(refusal?.removedBy.filter { $0.hosts > 0 } == [.init(filter: "hardware", hosts: 2)])
        let explained = try await record.request(by: record.root) {
            try $0.explainPlacement(flavor: "shaped", image: "debian", PlacementWish(), limit: 5)
        }
        #expect(explained.explanation.removals.first { $0.hosts > 0 }?.names == ["cn1", "cn2"])
        let ordinary = try await Self.site(["hw_disk_bus": "virtio", "hw_machine_type": "q35"], heeds: false)
        #expect(try await Self.create(ordinary).hardware.isEmpty)
    }

    @Test(
        "what flavor and image do not allow together is refused when the instance is asked for",
        arguments: [
            (["hw_video_ram": "65"], ["hw_video:ram_max_mb": "64"], ["65", "64", "hw_video:ram_max_mb"])
        ] as [([String: String], [String: String], [String])])
    func refused(_ image: [String: String], _ flavor: [String: String], _ words: [String]) async throws {
        let record = try await Self.site(image, flavor: flavor)
        let refusal = try await record.refused(.unprocessable, by: record.ann) {
            try $0.createInstances(InstanceCreation(name: "i", flavor: "shaped", image: "debian"))
        }
        for word in words { #expect(refusal?.sentence.contains(word) == true, "\(refusal?.sentence ?? "")") }
    }

    @Test(
        "how an image would have its processors arranged counts where the flavor has as many, and is passed over elsewhere"
    )
    func arrangement() async throws {
        let record = try await Self.site(["hw_cpu_sockets": "2", "hw_cpu_threads": "2", "hw_video_model": "vga"])
        #expect(
            try await Self.create(record).hardware
                == ["hw_cpu_sockets": "2", "hw_cpu_threads": "2", "hw_video_model": "vga"])
        _ = try await record.request(by: record.root) {
            try $0.createFlavor(name: "odd", vcpus: 3, ramMiB: 512, diskGiB: 10, properties: [:])
        }
        #expect(try await Self.create(record, flavor: "odd").hardware == ["hw_video_model": "vga"])
    }

    @Test(
        "values that a property has not are refused when it is set, with those that it has",
        arguments: [
            (["hw_video_model": "matrox"], ["/properties/hw_video_model"], "qxl"),
            (["hw_disk_bus": "ide"], ["/properties/hw_disk_bus"], "hw_machine_type"),
            (["hw_firmware_type": "efi", "hw_vif_model": "ne2k"], nil, "bios, uefi"),
            (["hw_watchdog_action": "bark"], ["/properties/hw_watchdog_action"], "poweroff"),
            (["configure_x": "true", "os_type": "windows"], ["/properties/configure_x"], "Linux"),
        ] as [([String: String], [String]?, String)])
    func values(_ properties: [String: String], _ pointers: [String]?, _ word: String) async throws {
        let record = try await TestRecord(hosts: 0)
        let refusal = try await record.refused(.unprocessable, by: record.root) {
            try $0.updateImage(
                "debian", name: nil, visibility: nil, properties: properties, minDiskGiB: nil, minRAMMiB: nil)
        }
        #expect(refusal?.sentence.contains(word) == true, "\(refusal?.sentence ?? "")")
        #expect(
            refusal?.fields.map(\.pointer)
                == pointers ?? ["/properties/hw_firmware_type", "/properties/hw_vif_model"])
    }
}
