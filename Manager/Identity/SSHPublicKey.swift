import Crypto
import Foundation

/// An OpenSSH public key, checked to its last byte (RFC 4253 §6.6, RFC 5656, RFC 8709, OpenSSH PROTOCOL.u2f).
///
/// What is accepted goes into guests' `authorized_keys`, so nothing is stripped or repaired in silence: the line is
/// exactly type, base64 and an optional comment, or it is refused with a sentence.
public struct SSHPublicKey: Sendable, Equatable {
    /// Such as `ssh-ed25519`.
    public let type: String
    /// `SHA256:` and unpadded base64, as `ssh-keygen -l` prints it.
    public let fingerprint: String
    public let comment: String
    /// The line as it goes into `authorized_keys`.
    public let line: String

    public static let maximumBytes = 16 * 1024

    /// Why a text is no acceptable key; the description is for the person who sent it.
    public struct Refused: Error, Equatable, CustomStringConvertible {
        public let description: String

        init(_ sentence: String) { description = sentence }
    }

    public init(_ text: String) throws(Refused) {
        let line = text.hasSuffix("\n") ? String(text.dropLast()) : text
        try Self.checkShape(line)
        let parts = line.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        let type = String(parts[0])
        guard let format = Self.formats[type] else { throw Self.unknownType(type) }
        guard parts.count >= 2, !parts[1].isEmpty else {
            throw Refused("the key is cut short: after '\(type)' there must be one space and the key in base64")
        }
        guard let blob = Data(base64Encoded: String(parts[1])).map(Array.init),
            Data(blob).base64EncodedString() == parts[1]
        else { throw Refused("the key after '\(type)' is not base64; was it broken over several lines or cut off?") }
        var reader = WireReader(blob)
        guard let inner = reader.string(), inner == Array(type.utf8) else {
            throw Refused("the key says '\(type)', but its contents are of another type or damaged")
        }
        if let objection = format.objection(&reader) { throw Refused(objection) }
        guard reader.isAtEnd else { throw Refused("the key has further bytes after its end; export it again") }
        self.type = type
        self.line = line
        comment = parts.count == 3 ? String(parts[2]) : ""
        let digest = Data(SHA256.hash(data: blob)).base64EncodedString()
        fingerprint = "SHA256:" + digest.prefix { $0 != "=" }
    }

    private static func checkShape(_ line: String) throws(Refused) {
        guard line.utf8.count <= maximumBytes else { throw Refused("the key is longer than \(maximumBytes) bytes") }
        if line.contains("PRIVATE KEY") {
            throw Refused(
                "this is a private key; keep it to yourself, and send the matching public key (the .pub file)")
        }
        if line.hasPrefix("---- BEGIN SSH2") || line.hasPrefix("-----BEGIN") || line.hasPrefix("PuTTY-User-Key-File") {
            throw Refused("the key is not in OpenSSH's one-line form; convert it with 'ssh-keygen -i -f FILE'")
        }
        guard !line.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F || $0.value == 0x2028 }) else {
            throw Refused("the key must be one line without tabs or control characters")
        }
        guard !line.isEmpty, line.first != " ", line.last != " " else {
            throw Refused("the key must begin with its type, such as 'ssh-ed25519', and have no space around it")
        }
    }

    private static func unknownType(_ type: String) -> Refused {
        if type == "ssh-dss" {
            return Refused(
                "DSA keys are not accepted by today's OpenSSH; make an ed25519 key with 'ssh-keygen -t ed25519'")
        }
        if type.contains("-cert-v01@openssh.com") {
            return Refused("this is a certificate, not a public key; send the key that it was made for")
        }
        if type.contains("=") || type.contains(",") || ["no-pty", "restrict", "cert-authority"].contains(type) {
            return Refused(
                "options before the key are not accepted; the key must begin with its type, such as 'ssh-ed25519'")
        }
        let known = formats.keys.sorted().joined(separator: ", ")
        return Refused("'\(type.prefix(40))' is no key type that guests accept; the types are \(known)")
    }
}

extension SSHPublicKey {
    /// How the rest of a key's contents must look.
    struct Format: Sendable {
        /// What is wrong with it, or `nil`.
        let objection: @Sendable (inout WireReader) -> String?
    }

    static let minimumRSABits = 2048
    private static let damaged = "the key is damaged: its contents do not fit its type; export it again"

    static let formats: [String: Format] = [
        "ssh-ed25519": Format { $0.string()?.count == 32 ? nil : damaged },
        "ssh-rsa": Format(objection: rsa),
        "ecdsa-sha2-nistp256": curve("nistp256", pointBytes: 65),
        "ecdsa-sha2-nistp384": curve("nistp384", pointBytes: 97),
        "ecdsa-sha2-nistp521": curve("nistp521", pointBytes: 133),
        "sk-ssh-ed25519@openssh.com": Format { reader in
            reader.string()?.count == 32 && reader.application() ? nil : damaged
        },
        "sk-ecdsa-sha2-nistp256@openssh.com": Format { reader in
            curve("nistp256", pointBytes: 65).objection(&reader) ?? (reader.application() ? nil : damaged)
        },
    ]

    private static func curve(_ name: String, pointBytes: Int) -> Format {
        Format { reader in
            guard reader.string() == Array(name.utf8), let point = reader.string(), point.count == pointBytes,
                point.first == 4
            else { return damaged }
            return isOnCurve(name, point) ? nil : damaged
        }
    }

    private static func isOnCurve(_ name: String, _ point: [UInt8]) -> Bool {
        switch name {
        case "nistp256": (try? P256.Signing.PublicKey(x963Representation: point)) != nil
        case "nistp384": (try? P384.Signing.PublicKey(x963Representation: point)) != nil
        default: (try? P521.Signing.PublicKey(x963Representation: point)) != nil
        }
    }

    @Sendable private static func rsa(_ reader: inout WireReader) -> String? {
        guard let exponent = reader.positiveInteger(), let modulus = reader.positiveInteger(),
            let first = modulus.first,
            let last = exponent.last, last & 1 == 1, exponent.count <= 8, exponent != [1]
        else { return damaged }
        let bits = modulus.count * 8 - first.leadingZeroBitCount
        if bits < minimumRSABits {
            return "the RSA key has \(bits) bits; at least \(minimumRSABits) are needed, or better an ed25519 key"
        }
        return bits > 16_384 ? "the RSA key has \(bits) bits; at most 16384 are accepted" : nil
    }

    /// Reads the fields of RFC 4251 §5.
    struct WireReader {
        private var rest: ArraySlice<UInt8>

        init(_ bytes: [UInt8]) { rest = bytes[...] }

        var isAtEnd: Bool { rest.isEmpty }

        mutating func string() -> [UInt8]? {
            guard rest.count >= 4 else { return nil }
            let length = rest.prefix(4).reduce(0) { $0 << 8 | Int($1) }
            guard rest.count - 4 >= length else { return nil }
            let bytes = rest.dropFirst(4).prefix(length)
            rest = rest.dropFirst(4 + length)
            return Array(bytes)
        }

        /// A positive number in its shortest form.
        mutating func positiveInteger() -> [UInt8]? {
            guard let bytes = string(), let first = bytes.first, first < 0x80 else { return nil }
            if first == 0 {
                guard bytes.count > 1, bytes[1] >= 0x80 else { return nil }
                return Array(bytes.dropFirst())
            }
            return bytes
        }

        /// The application string of a key on a security token, usually `ssh:`.
        mutating func application() -> Bool {
            guard let bytes = string() else { return false }
            return !bytes.isEmpty && bytes.count <= 256 && bytes.allSatisfy { (0x21...0x7E).contains($0) }
        }
    }
}
