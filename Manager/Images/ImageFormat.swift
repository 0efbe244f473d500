/// The formats that an image may be uploaded in.
public enum ImageFormat: String, Sendable, Hashable, CaseIterable {
    case raw, qcow2, vmdk, vhd, vdi, iso

    /// What `qemu-img` calls the format; `nil` where the file is the raw image already and no program need open it.
    var converterName: String? {
        switch self {
        case .raw, .iso: nil
        case .qcow2: "qcow2"
        case .vmdk: "vmdk"
        case .vhd: "vpc"
        case .vdi: "vdi"
        }
    }
}
