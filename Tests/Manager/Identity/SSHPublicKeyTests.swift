import Foundation
import Testing

@testable import ManagerIdentity

private func refusal(_ text: String) -> String? {
    do {
        _ = try SSHPublicKey(text)
        return nil
    } catch {
        return error.description
    }
}

private func wire(_ fields: [[UInt8]]) -> [UInt8] {
    fields.flatMap { field in
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: field.count >> $0) } + field
    }
}

private func line(_ type: String, _ fields: [[UInt8]]) -> String {
    type + " " + Data(wire([Array(type.utf8)] + fields)).base64EncodedString()
}

@Suite("SSH public keys")
struct SSHPublicKeyTests {
    @Test("keys of every accepted type have the fingerprint that ssh-keygen prints", arguments: SampleKeys.accepted)
    func accepted(line: String, fingerprint: String) throws {
        let key = try SSHPublicKey(line)
        #expect(key.fingerprint == fingerprint)
        #expect(key.line == line)
        #expect(key.comment == "key@test")
        #expect(line.hasPrefix(key.type + " "))
        #expect(try SSHPublicKey(line + "\n") == key)
    }

    @Test("a comment may be absent or hold spaces")
    func comment() throws {
        let bare = SampleKeys.ed25519.split(separator: " ").prefix(2).joined(separator: " ")
        #expect(try SSHPublicKey(bare).comment == "")
        #expect(try SSHPublicKey(bare + " my laptop, at home").comment == "my laptop, at home")
    }

    @Test("what is no public key is refused with what to do")
    func refused() throws {
        let good = SampleKeys.ed25519
        let parts = good.split(separator: " ").map(String.init)
        let body = parts[1]
        let cases: [(String, String)] = [
            ("", "must begin with its type"), (" " + good, "no space around"), (good + " ", "no space around"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "private key"),
            ("-----BEGIN RSA PRIVATE KEY-----\nabc", "private key"),
            ("---- BEGIN SSH2 PUBLIC KEY ----", "one-line form"), ("-----BEGIN PUBLIC KEY-----", "one-line form"),
            (good + "\n" + good, "one line"), (good + "\r\n", "one line"), (good + "\t", "one line"),
            ("command=\"/bin/sh\" " + good, "options"), ("no-pty " + good, "options"), ("a=b " + good, "options"),
            ("ssh-ed25519", "cut short"), ("ssh-ed25519  " + body, "cut short"), ("ssh-ed25519 !!!", "not base64"),
            ("ssh-ed25519 " + body.dropLast(), "not base64"), ("ssh-ed25519 " + body.dropLast(4), "damaged"),
            ("ssh-rsa " + body, "another type"), ("ssh-dss AAAA", "DSA"), ("ssh-foo AAAA", "no key type"),
            ("ssh-ed25519-cert-v01@openssh.com AAAA", "certificate"), (SampleKeys.shortRSA, "1024 bits"),
            (body, "no key type"), ("ssh-ed25519 " + String(repeating: "A", count: 20_000), "longer"),
        ]
        for (text, expected) in cases {
            let sentence = try #require(refusal(text), "\(text.prefix(60))")
            #expect(sentence.contains(expected), "\(text.prefix(60)): \(sentence)")
            #expect(!sentence.contains("\n"))
        }
    }

    @Test("contents that do not fit the type are refused")
    func damaged() {
        let curve = Array("nistp256".utf8)
        let damaged = [
            line("ssh-ed25519", [[UInt8](repeating: 1, count: 31)]),
            line("ssh-ed25519", [[UInt8](repeating: 1, count: 32), [0]]),
            line("ssh-ed25519", []),
            line("ssh-rsa", [[1, 0, 1], []]),
            line("ssh-rsa", [[1, 0, 1], [0x80] + [UInt8](repeating: 1, count: 255)]),
            line("ssh-rsa", [[1], [0x00, 0x80] + [UInt8](repeating: 1, count: 255)]),
            line("ssh-rsa", [[2], [0x00, 0x80] + [UInt8](repeating: 1, count: 255)]),
            line("ecdsa-sha2-nistp256", [curve, [4] + [UInt8](repeating: 1, count: 64)]),
            line("ecdsa-sha2-nistp256", [Array("nistp384".utf8), [4] + [UInt8](repeating: 1, count: 64)]),
            line("sk-ssh-ed25519@openssh.com", [[UInt8](repeating: 1, count: 32)]),
            line("sk-ssh-ed25519@openssh.com", [[UInt8](repeating: 1, count: 32), Array("a b\n".utf8)]),
            "ssh-ed25519 " + Data([0xFF, 0xFF, 0xFF, 0xFF, 1]).base64EncodedString(),
        ]
        for text in damaged { #expect(refusal(text) != nil, "\(text)") }
    }

    @Test("any single byte cut off or changed in the type is noticed; nothing crashes")
    func mutations() throws {
        let parts = SampleKeys.accepted[1].line.split(separator: " ").map(String.init)
        let blob = try #require(Data(base64Encoded: parts[1]).map(Array.init))
        for length in 0..<blob.count {
            #expect(refusal("ssh-rsa " + Data(blob.prefix(length)).base64EncodedString()) != nil)
        }
        for index in 0..<15 {
            var changed = blob
            changed[index] ^= 0x11
            #expect(refusal("ssh-rsa " + Data(changed).base64EncodedString()) != nil)
        }
    }
}
