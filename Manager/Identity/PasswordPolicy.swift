import Foundation

/// Which passwords are good enough. Length is what counts (NIST SP 800-63B §5.1.1.2); composition rules are not
/// imposed.
public enum PasswordPolicy {
    public static let minimumCharacters = 10
    /// A password is hashed; a longer one would only make the server work.
    public static let maximumBytes = 1024

    /// A sentence that says what is wrong with the password, or `nil`.
    public static func objection(to password: String, userName: String) -> String? {
        if password.utf8.count > maximumBytes {
            return "the password is longer than \(maximumBytes) bytes"
        }
        if password.count < minimumCharacters {
            return "the password must have at least \(minimumCharacters) characters"
        }
        if Set(password).count < 4 {
            return "the password must have at least four different characters"
        }
        if password.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F }) {
            return "the password must not hold control characters"
        }
        if !userName.isEmpty,
            password.lowercased()
                == String(repeating: userName.lowercased(), count: max(1, password.count / userName.count))
        {
            return "the password must not be made of the user's name"
        }
        return nil
    }

    /// The bytes that are hashed: canonically composed, since keyboards differ in how they send the same letter.
    static func bytes(of password: String) -> [UInt8] {
        Array(password.precomposedStringWithCanonicalMapping.utf8)
    }
}
