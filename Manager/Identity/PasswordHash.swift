import Crypto
import CryptoExtras
import Foundation

/// A password as it is kept: scrypt (RFC 7914) with its salt and parameters, `$scrypt$ln=15,r=8,p=1$salt$key`.
struct PasswordHash: Equatable {
    /// What a hash costs: 32 MiB and about a tenth of a second for the usual parameters.
    struct Cost: Equatable {
        /// log2 of N
        var exponent: Int
        var blockSize: Int
        var parallelism: Int

        static let usual = Cost(exponent: 15, blockSize: 8, parallelism: 1)

        /// A stored hash must not make the process allocate without bound.
        var isAcceptable: Bool {
            (1...20).contains(exponent) && (1...16).contains(blockSize) && (1...4).contains(parallelism)
        }
    }

    static let saltBytes = 16
    static let keyBytes = 32

    let cost: Cost
    let salt: [UInt8]
    let key: [UInt8]

    /// Derives a key; takes long and much memory, so it belongs on a thread that may block.
    init(of password: String, salt: [UInt8], cost: Cost) throws {
        self.cost = cost
        self.salt = salt
        key = try Self.derive(password, salt: salt, cost: cost)
    }

    init(encoded: String) throws(IdentityError) {
        let parts = encoded.split(separator: "$", omittingEmptySubsequences: false)
        guard parts.count == 5, parts[0].isEmpty, parts[1] == "scrypt", let cost = Self.cost(parts[2]),
            cost.isAcceptable,
            let salt = Self.decode(parts[3]), salt.count >= 8, salt.count <= 64,
            let key = Self.decode(parts[4]), key.count == Self.keyBytes
        else { throw .malformedPasswordHash }
        self.cost = cost
        self.salt = salt
        self.key = key
    }

    var encoded: String {
        "$scrypt$ln=\(cost.exponent),r=\(cost.blockSize),p=\(cost.parallelism)$\(Self.encode(salt))$\(Self.encode(key))"
    }

    /// Compares in a time that does not depend on where the keys differ.
    func matches(_ password: String) throws -> Bool {
        let candidate = try Self.derive(password, salt: salt, cost: cost)
        return zip(candidate, key).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0 && candidate.count == key.count
    }

    static func freshSalt() -> [UInt8] {
        var random = SystemRandomNumberGenerator()
        return (0..<saltBytes).map { _ in UInt8.random(in: .min ... .max, using: &random) }
    }

    private static func derive(_ password: String, salt: [UInt8], cost: Cost) throws -> [UInt8] {
        try KDF.Scrypt.deriveKey(
            from: PasswordPolicy.bytes(of: password), salt: salt, outputByteCount: keyBytes, rounds: 1 << cost.exponent,
            blockSize: cost.blockSize, parallelism: cost.parallelism
        ).withUnsafeBytes { Array($0) }
    }

    private static func cost(_ text: Substring) -> Cost? {
        var values: [Substring: Int] = [:]
        for pair in text.split(separator: ",") {
            let parts = pair.split(separator: "=")
            guard parts.count == 2, let value = Int(parts[1]), values.updateValue(value, forKey: parts[0]) == nil else {
                return nil
            }
        }
        guard values.count == 3, let exponent = values["ln"], let blockSize = values["r"], let parallelism = values["p"]
        else { return nil }
        return Cost(exponent: exponent, blockSize: blockSize, parallelism: parallelism)
    }

    private static func encode(_ bytes: [UInt8]) -> String {
        String(Data(bytes).base64EncodedString().prefix { $0 != "=" })
    }

    private static func decode(_ text: Substring) -> [UInt8]? {
        let padding = String(repeating: "=", count: (4 - text.count % 4) % 4)
        return Data(base64Encoded: text + padding).map(Array.init)
    }
}
