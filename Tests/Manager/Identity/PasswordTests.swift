import ManagerModel
import ProtocolModel
import Synchronization
import Testing

@testable import ManagerIdentity

@Suite("Passwords")
struct PasswordTests {
    private let cheap = PasswordHash.Cost(exponent: 4, blockSize: 8, parallelism: 1)

    @Test("RFC 7914 §12: the known vector with N = 16, and its encoding reads back")
    func vector() throws {
        let cost = PasswordHash.Cost(exponent: 14, blockSize: 8, parallelism: 1)
        let hash = try PasswordHash(of: "pleaseletmein", salt: Array("SodiumChloride".utf8), cost: cost)
        #expect(hash.key.hexadecimal == "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2")
        #expect(try PasswordHash(encoded: hash.encoded) == hash)
        #expect(try hash.matches("pleaseletmein"))
        #expect(try !hash.matches("pleaseletmeio"))
    }

    @Test("two hashes of one password differ, and none holds the password")
    func salted() async throws {
        let hasher = PasswordHasher(threads: 1, limit: 4, cost: cheap)
        let first = try await hasher.hash("correct horse", userName: "ann")
        let second = try await hasher.hash("correct horse", userName: "ann")
        #expect(first != second)
        #expect(!first.contains("correct"))
        #expect(try await hasher.verify("correct horse", against: first))
        #expect(try await !hasher.verify("correct house", against: first))
        #expect(try await !hasher.verify("correct horse", against: nil))
        await hasher.close()
    }

    @Test("a letter counts the same however the keyboard composes it")
    func composed() throws {
        let hash = try PasswordHash(of: "caf\u{E9}-caf\u{E9}", salt: [1, 2, 3, 4, 5, 6, 7, 8], cost: cheap)
        #expect(try hash.matches("cafe\u{301}-cafe\u{301}"))
    }

    @Test("the usual cost is N = 2^15, r = 8, p = 1")
    func usualCost() {
        #expect(PasswordHash.Cost.usual == PasswordHash.Cost(exponent: 15, blockSize: 8, parallelism: 1))
        #expect(PasswordHash.freshSalt().count == 16)
    }

    @Test(
        "a stored text that is no hash is refused, however large its parameters",
        arguments: [
            "", "secret", "$scrypt$", "$scrypt$ln=15,r=8,p=1$$",
            "$scrypt$ln=60,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$" + zeros,
            "$scrypt$ln=15,r=99999,p=1$AAAAAAAAAAAAAAAAAAAAAA$" + zeros,
            "$scrypt$ln=15,r=8,p=0$AAAAAAAAAAAAAAAAAAAAAA$" + zeros,
            "$scrypt$ln=15,r=8$AAAAAAAAAAAAAAAAAAAAAA$" + zeros,
            "$scrypt$ln=-1,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$" + zeros, "$md5$ln=15,r=8,p=1$AAAA$" + zeros,
            "$scrypt$ln=15,ln=15,p=1$AAAAAAAAAAAAAAAAAAAAAA$" + zeros, "$scrypt$ln=15,r=8,p=1$!!$" + zeros,
        ])
    func malformed(encoded: String) {
        #expect(throws: IdentityError.malformedPasswordHash) { try PasswordHash(encoded: encoded) }
    }

    @Test("more than the bound waiting is refused at once, and all that were admitted finish")
    func bounded() async throws {
        let hasher = PasswordHasher(
            threads: 1, limit: 3, cost: PasswordHash.Cost(exponent: 12, blockSize: 8, parallelism: 1))
        let outcomes = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<64 {
                group.addTask { (try? await hasher.hash("correct horse", userName: "ann")) != nil }
            }
            return await group.reduce(into: [Bool: Int]()) { $0[$1, default: 0] += 1 }
        }
        #expect(outcomes[true, default: 0] >= 3)
        #expect(outcomes[false, default: 0] >= 1)
        #expect(try await hasher.hash("correct horse", userName: "ann").hasPrefix("$scrypt$"))
        await hasher.close()
    }

    @Test(
        "bad passwords are refused with a sentence",
        arguments: [
            ("short", "at least 10"), ("aaaaaaaaaaaa", "different"), ("new\nline-and-more", "control"),
            (String(repeating: "x", count: 2000), "longer"), ("annannannannann", "different characters"),
            ("robertrobert", "name"),
        ])
    func policy(password: String, expected: String) throws {
        let objection = PasswordPolicy.objection(to: password, userName: password.hasPrefix("ann") ? "ann" : "robert")
        #expect(try #require(objection).contains(expected))
    }

    @Test("good passwords are accepted", arguments: ["correct horse", "xK9-2mPq!z", "日本語のパスワードです", "ten chars."])
    func goodPassword(password: String) {
        #expect(PasswordPolicy.objection(to: password, userName: "ann") == nil)
    }
}

private let zeros = String(repeating: "A", count: 43)
