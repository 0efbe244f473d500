import ProtocolModel

extension DomainXML {
    static func devices(of domain: DomainSpecification) -> Element {
        let hardware = domain.hardware
        return Element("devices") {
            if let emulator = domain.emulator { Element("emulator", text: emulator) }
            if hardware.disk == .scsi { Element("controller", ["type": "scsi", "index": "0", "model": "virtio-scsi"]) }
            bootDisk(of: domain)
            // QEMU has no disks on these buses that cannot be written to.
            Element("disk", ["type": "file", "device": [.ide, .sata].contains(hardware.disk) ? "cdrom" : "disk"]) {
                Element("driver", ["name": "qemu", "type": "raw"])
                Element("source", ["file": domain.seedPath])
                Element("target", ["dev": "vdb", "bus": hardware.disk.rawValue])
                Element("readonly")
            }
            card(of: domain)
            Element("serial", ["type": "pty"]) { Element("log", ["file": domain.consoleLogPath, "append": "off"]) }
            Element("console", ["type": "pty"])
            if hardware.hasGuestAgent {
                Element("channel", ["type": "unix"]) {
                    Element("target", ["type": "virtio", "name": "org.qemu.guest_agent.0"])
                }
            }
            if let bus = hardware.input?.rawValue {
                for kind in ["tablet", "keyboard"] { Element("input", ["type": kind, "bus": bus]) }
            }
            video(hardware)
            if hardware.watchdog != .disabled {
                Element("watchdog", ["model": "i6300esb", "action": hardware.watchdog.rawValue])
            }
            Element("rng", ["model": "virtio"]) { Element("backend", ["model": "random"], text: "/dev/urandom") }
            Element("memballoon", ["model": "virtio"]) { Element("stats", ["period": "10"]) }
            for device in domain.devices { passed(device) }
        }
    }

    /// Formats are named, never guessed: a guest may write any header into its disk (SEC-02). Its name is what the copy of
    /// a disk asks libvirt for, on whatever bus.
    private static func bootDisk(of domain: DomainSpecification) -> Element {
        Element("disk", ["type": "file", "device": "disk"]) {
            Element("driver", ["name": "qemu", "type": domain.diskFormat.rawValue, "discard": "unmap"])
            Element("source", ["file": domain.diskPath])
            // A raw disk has nothing below it, and is not looked into for it.
            if domain.diskFormat == .raw { Element("backingStore") }
            if domain.diskFormat == .qcow2, let base = domain.basePath { backing(base) }
            Element("target", ["dev": "vda", "bus": domain.hardware.disk.rawValue])
            let limits = diskLimits.compactMap { limit, name in
                domain.hardware.limits[limit].map { Element(name, text: "\($0)") }
            }
            if !limits.isEmpty { Element("iotune") { limits } }
        }
    }

    private static let diskLimits: [(GuestHardware.Limit, String)] = [
        (.diskTotalBytes, "total_bytes_sec"), (.diskReadBytes, "read_bytes_sec"),
        (.diskWriteBytes, "write_bytes_sec"), (.diskTotalRequests, "total_iops_sec"),
        (.diskReadRequests, "read_iops_sec"), (.diskWriteRequests, "write_iops_sec"),
    ]

    private static func card(of domain: DomainSpecification) -> Element {
        let limits = domain.hardware.limits
        func direction(
            _ name: String, _ average: GuestHardware.Limit, _ peak: GuestHardware.Limit, _ burst: GuestHardware.Limit
        ) -> [Element] {
            guard let rate = limits[average] else { return [] }
            return [
                Element(
                    name,
                    present: [
                        ("average", "\(rate)"), ("peak", limits[peak].map { "\($0)" }),
                        ("burst", limits[burst].map { "\($0)" }),
                    ])
            ]
        }
        let bandwidth =
            direction("inbound", .inboundAverage, .inboundPeak, .inboundBurst)
            + direction("outbound", .outboundAverage, .outboundPeak, .outboundBurst)
        return Element("interface", ["type": "network"]) {
            Element("mac", ["address": domain.macAddress])
            Element("source", ["network": domain.network])
            Element("model", ["type": domain.hardware.network.rawValue])
            if !bandwidth.isEmpty { Element("bandwidth") { bandwidth } }
        }
    }

    /// No card where nothing was said of one.
    private static func video(_ hardware: GuestHardware) -> [Element] {
        let model = hardware.video ?? (hardware.videoRAMMiB == nil ? GuestHardware.VideoModel.none : .vga)
        guard model != .none else { return [] }
        // The others have no memory of their own, or as much as the guest gives them.
        let hasMemory = [.bochs, .qxl, .vga, .vmvga].contains(model)
        return [
            Element("video") {
                Element(
                    "model",
                    present: [
                        ("type", model.rawValue),
                        ("vram", hasMemory ? hardware.videoRAMMiB.map { "\($0 << 10)" } : nil), ("heads", "1"),
                    ])
            }
        ]
    }

    /// Never `managed`: libvirt would bind and unbind by itself, whatever the ledger says.
    private static func passed(_ device: PCIAddress) -> Element {
        Element("hostdev", ["mode": "subsystem", "type": "pci", "managed": "no"]) {
            Element("driver", ["name": "vfio"])
            Element("source") {
                Element(
                    "address",
                    [
                        "domain": "0x" + PCIAddress.digits(device.domain, 4),
                        "bus": "0x" + PCIAddress.digits(UInt32(device.bus), 2),
                        "slot": "0x" + PCIAddress.digits(UInt32(device.slot), 2), "function": "0x\(device.function)",
                    ])
            }
        }
    }

    /// The whole chain below a disk.
    static func backing(_ base: String) -> Element {
        Element("backingStore", ["type": "file"]) {
            Element("format", ["type": "raw"])
            Element("source", ["file": base]) { Element("seclabel", ["model": "dac", "relabel": "no"]) }
            Element("backingStore")
        }
    }
}
