/// What a guest's virtual hardware is like where it is other than ordinary: said by properties of its image and its flavor,
/// and carried to its host by the names of those properties, so that both sides read it in the same way and neither takes
/// the other's word for it.
public struct GuestHardware: Sendable, Hashable {
    public enum Firmware: String, Sendable, CaseIterable { case bios, uefi }

    public enum SecureBoot: String, Sendable, CaseIterable {
        /// `optional`: where its host can.
        case disabled, optional, required
    }

    public enum VideoModel: String, Sendable, CaseIterable { case bochs, cirrus, none, qxl, vga, virtio, vmvga }

    public enum DiskBus: String, Sendable, CaseIterable { case ide, sata, scsi, usb, virtio }

    public enum NetworkModel: String, Sendable, CaseIterable {
        case e1000, e1000e, ne2kPCI = "ne2k_pci", pcnet, rtl8139, virtio, vmxnet3
    }

    public enum WatchdogAction: String, Sendable, CaseIterable {
        /// `none`: there is a watchdog, and its expiry is told alone.
        case disabled, none, pause, poweroff, reset
    }

    public enum InputBus: String, Sendable, CaseIterable { case usb, virtio }

    /// A limit of a guest's disk or network, named as the flavor's property is. Bytes and requests a second; of the network
    /// kibibytes a second, and for bursts kibibytes.
    public enum Limit: String, Sendable, CaseIterable {
        case diskReadBytes = "quota:disk_read_bytes_sec"
        case diskWriteBytes = "quota:disk_write_bytes_sec"
        case diskTotalBytes = "quota:disk_total_bytes_sec"
        case diskReadRequests = "quota:disk_read_iops_sec"
        case diskWriteRequests = "quota:disk_write_iops_sec"
        case diskTotalRequests = "quota:disk_total_iops_sec"
        case inboundAverage = "quota:vif_inbound_average"
        case inboundPeak = "quota:vif_inbound_peak"
        case inboundBurst = "quota:vif_inbound_burst"
        case outboundAverage = "quota:vif_outbound_average"
        case outboundPeak = "quota:vif_outbound_peak"
        case outboundBurst = "quota:vif_outbound_burst"

        /// What libvirt and the kernel can count.
        public var range: ClosedRange<Int> {
            switch self {
            case .diskReadBytes, .diskWriteBytes, .diskTotalBytes, .diskReadRequests, .diskWriteRequests,
                .diskTotalRequests:
                1...(1 << 40)
            // A rate in bits a second has 32 bits in old kernels, and libvirt's schema for all of these has as many.
            case .inboundAverage, .inboundPeak, .inboundBurst, .outboundAverage, .outboundPeak, .outboundBurst:
                1...(1 << 22)
            }
        }
    }

    /// What properties of images say of hardware, by their names.
    public enum Property: String, Sendable, CaseIterable {
        case machine = "hw_machine_type"
        case firmware = "hw_firmware_type"
        case secureBoot = "os_secure_boot"
        case video = "hw_video_model"
        case videoRAM = "hw_video_ram"
        case disk = "hw_disk_bus"
        case network = "hw_vif_model"
        case watchdog = "hw_watchdog_action"
        case input = "hw_input_bus"
        case guestAgent = "hw_qemu_guest_agent"
        case system = "os_type"
        case configuresX = "configure_x"
        case sockets = "hw_cpu_sockets"
        case cores = "hw_cpu_cores"
        case threads = "hw_cpu_threads"
    }

    /// What is wrong with one property.
    public struct Fault: Error, Sendable, Hashable {
        public var property: String
        /// What it must be.
        public var detail: String

        public init(_ property: String, _ detail: String) {
            self.property = property
            self.detail = detail
        }
    }

    /// As QEMU names it; `nil`: q35.
    public var machine: String?
    public var firmware = Firmware.bios
    public var secureBoot = SecureBoot.disabled
    /// `nil`: nothing was said of it, and the guest has no card.
    public var video: VideoModel?
    public var videoRAMMiB: Int?
    public var disk = DiskBus.virtio
    public var network = NetworkModel.virtio
    public var watchdog = WatchdogAction.disabled
    /// Of a keyboard and a tablet beside the ordinary ones; `nil`: there are none.
    public var input: InputBus?
    /// Has a channel for QEMU's guest agent.
    public var hasGuestAgent = false
    public var isWindows = false
    /// Its first boot writes a configuration of X for the device that it is given (IMG-11).
    public var configuresX = false
    public var sockets: Int?
    public var cores: Int?
    public var threads: Int?
    public var limits: [Limit: Int] = [:]

    public init() {}

    public static let ordinary = GuestHardware()

    /// Whether it is a q35; other machines have other buses.
    public var isQ35: Bool { machine.map { $0 == "q35" || $0.hasPrefix("pc-q35-") } ?? true }

    /// Whether it is of the older line of PCs, which alone has IDE.
    public var isOldPC: Bool { machine.map { $0 == "pc" || $0.hasPrefix("pc-") } ?? false && !isQ35 }

    /// How its processors are arranged.
    public struct Topology: Sendable, Hashable {
        public var sockets: Int
        public var cores: Int
        public var threads: Int
    }

    /// What is left out is the least that makes up all of them: threads and cores are 1, and sockets as many as it takes.
    ///
    /// - Returns: `nil` where nothing was said.
    public func topology(vcpus: Int) throws(Fault) -> Topology? {
        guard sockets != nil || cores != nil || threads != nil else { return nil }
        let threads = threads ?? 1
        let rest = sockets.map { vcpus / max(1, $0 * threads) } ?? 1
        let cores = cores ?? max(1, rest)
        let sockets = sockets ?? max(1, vcpus / max(1, cores * threads))
        guard sockets * cores * threads == vcpus else {
            throw Fault(
                Property.sockets.rawValue,
                "with hw_cpu_cores and hw_cpu_threads makes \(sockets) × \(cores) × \(threads) processors, and there are \(vcpus)"
            )
        }
        return Topology(sockets: sockets, cores: cores, threads: threads)
    }
}
