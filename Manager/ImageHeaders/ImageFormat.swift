/// The formats that an image may be uploaded in.
public enum ImageFormat: String, Sendable, Hashable, CaseIterable {
    case raw, qcow2, vmdk, vhd, vdi, iso
}
