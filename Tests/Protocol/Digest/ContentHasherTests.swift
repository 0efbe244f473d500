import ProtocolDigest
import ProtocolModel
import Testing

@Suite("SHA-256")
struct ContentHasherTests {
    /// Examples of FIPS 180-4's publisher (NIST, "Cryptographic Standards and Guidelines: Examples").
    @Test(
        "known answers",
        arguments: [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
            ),
        ])
    func knownAnswers(text: String, digest: String) {
        #expect(ContentDigest(hashing: Array(text.utf8)).description == digest)
    }

    @Test("it does not matter where bytes are cut")
    func pieces() {
        let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let whole = ContentDigest(hashing: bytes)
        for cut in [0, 1, 63, 64, 65, 999, 1000] {
            var hasher = ContentHasher()
            hasher.update(Array(bytes[..<cut]))
            hasher.update(Array(bytes[cut...]))
            #expect(hasher.finish() == whole)
        }
    }
}
