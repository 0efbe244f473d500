import ProtocolModel

/// What may be said of an image in its properties: names of the site's own choice, and some that mean something here or to
/// the guest, whose values are checked.
public enum ImageProperties {
    public static let maximumCount = 128
    public static let maximumValueLength = 1024

    enum Rule: Sendable {
        case words([String])
        case flag
        /// Letters, digits, `.`, `_` and `-`.
        case word
        /// An address whose `{}` becomes the guest's own (IMG-13).
        case serviceURL
        /// Has a place of its own, which is named.
        case elsewhere(String)
    }

    static let rules: [String: Rule] = [
        "active": .elsewhere("'roost image deactivate' and 'reactivate' say whether an image is offered"),
        "min_disk": .elsewhere("give min_disk_gib ('--min-disk')"),
        "min_ram": .elsewhere("give min_ram_mib ('--min-ram')"),
        "protected": .elsewhere("give the field of that name ('--protected')"),
        "visibility": .elsewhere("give the field of that name"),
        "architecture": .word, "image_type": .word, "service_type": .word, "service_url": .serviceURL,
        "is_linux": .flag, "hw_boot_menu": .flag,
        "hw_cdrom_bus": .words(["ide", "sata", "scsi", "usb", "virtio"]),
        "hw_rng_model": .words(["virtio"]), "os_distro": .word, "os_type": .word, "os_require_quiesce": .flag,
    ]

    /// What is wrong with some properties, each by its JSON pointer.
    public static func faults(in properties: [String: String]) -> [Refusal.Field] {
        guard properties.count <= maximumCount else {
            return [.init(pointer: "/properties", detail: "must have at most \(maximumCount) members")]
        }
        let faults: [Refusal.Field] = properties.sorted { $0.key < $1.key }.compactMap { name, value in
            fault(name, value).map { .init(pointer: "/properties/" + escaped(name), detail: $0) }
        }
        return faults.isEmpty ? contradictions(in: properties) : faults
    }

    /// Whether all are properties, whatever they mean.
    public static func areWellFormed(_ properties: [String: String]) -> Bool {
        properties.count <= maximumCount && properties.allSatisfy { textFault($0.key, $0.value) == nil }
    }

    /// What those that say what a guest's hardware is say of one another.
    private static func contradictions(in properties: [String: String]) -> [Refusal.Field] {
        var hardware = GuestHardware()
        for property in GuestHardware.Property.allCases {
            if let value = properties[property.rawValue] { try? hardware.take(value, for: property) }
        }
        return hardware.contradictions.map { .init(pointer: "/properties/" + escaped($0.property), detail: $0.detail) }
    }

    /// What is wrong with a property as such, whatever it means.
    static func textFault(_ name: String, _ value: String) -> String? {
        guard isName(name) else {
            return
                "a property's name must have 1 to 255 letters, digits, '.', '_', ':' and '-', and begin with a letter or digit"
        }
        guard value.count <= maximumValueLength else { return "must have at most \(maximumValueLength) characters" }
        guard value.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F }) else {
            return "must be one line without control characters"
        }
        return nil
    }

    private static func fault(_ name: String, _ value: String) -> String? {
        if let fault = textFault(name, value) { return fault }
        if let property = GuestHardware.Property(rawValue: name) {
            do throws(GuestHardware.Fault) {
                var hardware = GuestHardware()
                try hardware.take(value, for: property)
            } catch {
                return error.detail
            }
        }
        switch rules[name] {
        case nil: return nil
        case .words(let words): return words.contains(value) ? nil : "must be one of \(words.joined(separator: ", "))"
        case .flag: return ["true", "false", "yes", "no"].contains(value.lowercased()) ? nil : "must be true or false"
        case .word: return isName(value) ? nil : "must hold only letters, digits, '.', '_', ':' and '-'"
        case .serviceURL:
            return isServiceURL(value)
                ? nil : "must be an http or https address with one {} as its host, such as https://{}/"
        case .elsewhere(let advice): return "is not kept as a property; \(advice)"
        }
    }

    private static func isName(_ text: String) -> Bool {
        let isPlain = { (byte: UInt8) in
            (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
        }
        guard (1...255).contains(text.utf8.count), let first = text.utf8.first, isPlain(first) else { return false }
        return text.utf8.allSatisfy { isPlain($0) || ".:_-".utf8.contains($0) }
    }

    /// `http://{}`, with a port and a path where they are wanted: nothing else may take the host's place, since hosts of
    /// the site ask for this page.
    private static func isServiceURL(_ text: String) -> Bool {
        guard let rest = ["http://{}", "https://{}"].first(where: text.hasPrefix).map({ text.dropFirst($0.count) }),
            !rest.contains("{"), !rest.contains("}"), rest.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else { return false }
        guard rest.first == ":" else { return rest.isEmpty || rest.first == "/" || rest.first == "?" }
        let port = rest.dropFirst().prefix { $0 != "/" && $0 != "?" }
        return Int(port).map { (1...65_535).contains($0) } == true
    }

    /// As part of a JSON pointer, cut where it is long.
    static func escaped(_ name: String) -> String {
        String(name.unicodeScalars.prefix(64).map { $0.value < 0x20 || $0.value == 0x7F ? "?" : Character($0) })
            .replacing("~", with: "~0").replacing("/", with: "~1")
    }
}
