import Foundation
import ProtocolModel
import Testing
import TestsSupportHardware
import TestsSupportRandomness

@testable import AgentHypervisor

@Suite("Hardware of guests")
struct GuestHardwareTests {
    @Test("what one side says, the other reads the same, and what is ordinary is not said")
    func roundTrip() throws {
        var random = SeededNumbers(state: 23)
        for _ in 0..<2000 {
            let hardware = HardwareSettings.random(using: &random)
            let read = try GuestHardware(settings: hardware.settings)
            #expect(read.settings == hardware.settings)
            #expect(try GuestHardware(settings: read.settings) == read)
        }
        #expect(GuestHardware.ordinary.settings.isEmpty)
        #expect(
            try GuestHardware(settings: [
                "hw_machine_type": "q35", "hw_disk_bus": "virtio", "hw_video_model": "none", "os_type": "linux",
                "hw_firmware_type": "bios", "configure_x": "false", "hw_watchdog_action": "disabled",
            ]).settings.isEmpty)
    }

    @Test(
        "what is not known, or no value of its setting, is refused and never passed over",
        arguments: [
            ("hw_unknown", "x"), ("hw_machine_type", "q35' />"), ("hw_machine_type", ""), ("hw_video_model", "VGA"),
            ("hw_video_ram", "0"), ("hw_video_ram", "1025"), ("quota:disk_read_bytes_sec", "0"),
            ("quota:vif_inbound_average", "-1"), ("quota:vif_inbound_average", "4194305"), ("configure_x", "perhaps"),
            ("hw_cpu_sockets", "9223372036854775807"), ("", ""),
        ])
    func refused(_ setting: (name: String, value: String)) {
        #expect(throws: GuestHardware.Fault.self) { try GuestHardware(settings: [setting.name: setting.value]) }
    }

    @Test(
        "what cannot be together is told, with both names",
        arguments: [
            (["hw_disk_bus": "ide"], "hw_disk_bus", "hw_machine_type"),
            (["hw_disk_bus": "ide", "hw_machine_type": "pc-q35-7.2"], "hw_disk_bus", "hw_machine_type"),
            (["os_secure_boot": "required"], "os_secure_boot", "hw_firmware_type"),
            (
                ["os_secure_boot": "required", "hw_firmware_type": "uefi", "hw_machine_type": "pc"], "os_secure_boot",
                "hw_machine_type"
            ),
            (["hw_video_model": "none", "hw_video_ram": "8"], "hw_video_ram", "hw_video_model"),
            (["configure_x": "true", "os_type": "windows"], "configure_x", "os_type"),
            (["quota:vif_outbound_peak": "9"], "quota:vif_outbound_peak", "quota:vif_outbound_average"),
            (
                ["quota:vif_inbound_average": "9", "quota:vif_inbound_peak": "8"], "quota:vif_inbound_peak", "average"
            ),
            (
                ["quota:disk_total_iops_sec": "9", "quota:disk_write_iops_sec": "8"], "quota:disk_total_iops_sec",
                "reading and writing"
            ),
        ])
    func contradictions(_ settings: [String: String], _ property: String, _ other: String) {
        do {
            _ = try GuestHardware(settings: settings)
            Issue.record("\(settings) were taken")
        } catch {
            #expect(error.property == property && error.detail.contains(other))
        }
        #expect(throws: Never.self) {
            try GuestHardware(settings: ["hw_disk_bus": "ide", "hw_machine_type": "pc-i440fx-7.2"])
        }
    }

    @Test(
        "processors are arranged so that all are there, or not at all",
        arguments: [
            (nil, nil, nil, nil), (1, nil, nil, [1, 8, 1]), (nil, 4, nil, [2, 4, 1]), (nil, nil, 2, [4, 1, 2]),
            (2, nil, 2, [2, 2, 2]), (2, 4, 1, [2, 4, 1]), (3, nil, nil, []), (nil, 16, nil, []), (2, 2, 1, []),
            (1024, 1024, 1024, []),
        ] as [(Int?, Int?, Int?, [Int]?)])
    func topology(_ sockets: Int?, _ cores: Int?, _ threads: Int?, _ expected: [Int]?) throws {
        var hardware = GuestHardware()
        (hardware.sockets, hardware.cores, hardware.threads) = (sockets, cores, threads)
        if expected == [] {
            #expect(throws: GuestHardware.Fault.self) { try hardware.topology(vcpus: 8) }
        } else {
            #expect(try hardware.topology(vcpus: 8).map { [$0.sockets, $0.cores, $0.threads] } == expected)
        }
    }

    @Test("a host's offer is read, and what it lacks is refused with what it has")
    func offer() throws {
        let document = """
            <domainCapabilities><os supported='yes'><enum name='firmware'><value>bios</value></enum>
            <loader supported='yes'><enum name='secure'><value>no</value></enum></loader></os>
            <devices><disk supported='yes'><enum name='bus'><value>scsi</value><value>virtio</value></enum></disk>
            <video supported='yes'><enum name='modelType'><value>vga</value><value>virtio</value></enum></video></devices>
            </domainCapabilities>
            """
        let offer = try #require(HostOffer(document))
        func settle(_ settings: [String: String]) throws -> [String: String] {
            try offer.settle(try GuestHardware(settings: settings), vcpus: 2).settings
        }
        #expect(try settle(["hw_video_model": "virtio", "hw_disk_bus": "scsi"]).count == 2)
        for (settings, words) in [
            (["hw_video_model": "qxl"], ["hw_video_model", "vga, virtio"]), (["hw_disk_bus": "sata"], ["hw_disk_bus"]),
            (["hw_firmware_type": "uefi"], ["hw_firmware_type", "ovmf"]), (["hw_cpu_cores": "4"], ["hw_cpu_sockets"]),
        ] {
            do {
                _ = try settle(settings)
                Issue.record("\(settings) were given")
            } catch {
                for word in words { #expect("\(error)".contains(word), "\(error)") }
            }
        }
        for length in [0, 9, document.count - 3] { #expect(HostOffer(String(document.prefix(length))) == nil) }
    }

    @Test("secure boot that is optional is given where there is one, and left out elsewhere", arguments: ["yes", "no"])
    func secureBoot(_ has: String) throws {
        let offer = try #require(
            HostOffer(
                "<domainCapabilities><os><loader><enum name='secure'><value>\(has)</value></enum></loader></os></domainCapabilities>"
            ))
        let hardware = try GuestHardware(settings: ["hw_firmware_type": "uefi", "os_secure_boot": "optional"])
        #expect(try offer.settle(hardware, vcpus: 1).secureBoot == (has == "yes" ? .required : .disabled))
    }
}
