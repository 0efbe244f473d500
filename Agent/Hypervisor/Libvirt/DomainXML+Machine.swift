import ProtocolModel

/// The machine below the devices: board, firmware, processors, clock.
extension DomainXML {
    static func firmware(of domain: DomainSpecification) -> Element {
        let hardware = domain.hardware
        let type = Element("type", ["arch": "x86_64", "machine": hardware.machine ?? "q35"], text: "hvm")
        let boot = Element("boot", ["dev": "hd"])
        guard hardware.firmware == .uefi else {
            return Element("os") {
                type
                boot
            }
        }
        // libvirt chooses among the firmware that its host has, by what it is to be able to do.
        let isSecure = hardware.secureBoot == .required ? "yes" : "no"
        return Element("os", ["firmware": "efi"]) {
            type
            Element("firmware") {
                Element("feature", ["enabled": isSecure, "name": "enrolled-keys"])
                Element("feature", ["enabled": isSecure, "name": "secure-boot"])
            }
            // Beside the disk: what the guest wrote there outlives its domain, and goes with the instance.
            Element("nvram", text: domain.nvramPath)
            boot
        }
    }

    static func features(of domain: DomainSpecification) -> Element {
        let hardware = domain.hardware
        return Element("features") {
            Element("acpi")
            Element("apic")
            if hardware.firmware == .uefi, hardware.secureBoot == .required { Element("smm", ["state": "on"]) }
            if seesHyperV(domain) {
                Element("hyperv", ["mode": "custom"]) {
                    for name in ["relaxed", "vapic"] { Element(name, ["state": "on"]) }
                    Element("spinlocks", ["state": "on", "retries": "8191"])
                    for name in ["vpindex", "synic", "stimer"] { Element(name, ["state": "on"]) }
                }
            }
        }
    }

    static func processorModel(of domain: DomainSpecification) -> Element {
        Element("cpu", ["mode": domain.accelerator == .kvm ? "host-passthrough" : "maximum"]) {
            // One that does not add up is refused before it comes here.
            if let topology = try? domain.hardware.topology(vcpus: domain.vcpus) {
                Element(
                    "topology",
                    [
                        "sockets": "\(topology.sockets)", "dies": "1", "cores": "\(topology.cores)",
                        "threads": "\(topology.threads)",
                    ])
            }
            cells(of: domain)
        }
    }

    /// Windows takes the clock of its board for local time.
    static func clock(of domain: DomainSpecification) -> Element {
        guard domain.hardware.isWindows else { return Element("clock", ["offset": "utc"]) }
        return Element("clock", ["offset": "localtime"]) {
            Element("timer", ["name": "rtc", "tickpolicy": "catchup"])
            Element("timer", ["name": "pit", "tickpolicy": "delay"])
            Element("timer", ["name": "hpet", "present": "no"])
            if seesHyperV(domain) { Element("timer", ["name": "hypervclock", "present": "yes"]) }
        }
    }

    /// What Windows knows how to ask of a hypervisor, QEMU answers with KVM alone.
    private static func seesHyperV(_ domain: DomainSpecification) -> Bool {
        domain.hardware.isWindows && domain.accelerator == .kvm
    }
}
