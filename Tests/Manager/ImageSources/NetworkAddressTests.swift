import ManagerImageSources
import ManagerModel
import Testing

@Suite struct NetworkAddressTests {
    @Test(
        "SEC-04 only what is on the public Internet is public",
        arguments: [
            ("93.184.216.34", true), ("1.1.1.1", true), ("172.15.255.255", true), ("172.32.0.1", true),
            ("100.63.255.255", true), ("2606:4700::1111", true), ("2a00:1450:4001::1", true),
            ("127.0.0.1", false), ("127.255.255.254", false), ("0.0.0.0", false), ("10.1.2.3", false),
            ("172.16.0.1", false), ("172.31.255.255", false), ("192.168.1.1", false), ("169.254.169.254", false),
            ("100.64.0.1", false), ("192.0.2.1", false), ("198.18.0.1", false), ("203.0.113.9", false),
            ("224.0.0.1", false), ("255.255.255.255", false), ("::", false), ("::1", false), ("fe80::1", false),
            ("fec0::1", false), ("fc00::1", false), ("fd12:3456::1", false), ("ff02::1", false),
            ("2001:db8::1", false), ("2001::1", false), ("::ffff:127.0.0.1", false), ("::ffff:10.0.0.1", false),
            ("::ffff:8.8.8.8", true), ("::127.0.0.1", false), ("64:ff9b::a00:1", false), ("64:ff9b::808:808", true),
            ("2002:7f00:1::", false), ("2002:a00:1::1", false), ("4000::1", false),
        ])
    func judges(text: String, isPublic: Bool) throws {
        let address = try #require(NetworkAddress(text))
        #expect(address.isPublic == isPublic)
        #expect(NetworkAddress(address.description) == address)
    }

    @Test(
        "what is no address in its usual form is none",
        arguments: ["", "localhost", "0x7f.1", "127.1", "2130706433", "0177.0.0.1", "1.2.3.4.5", "::g", "fe80::1%eth0"])
    func refuses(text: String) { #expect(NetworkAddress(text) == nil) }

    @Test(
        "SEC-03 SEC-04 only plain addresses of files are taken",
        arguments: [
            "file:///etc/shadow", "ftp://example.org/x", "gopher://example.org/", "https://", "https:///x",
            "https://user:secret@example.org/x", "https://example.org/x#part", "https://exa mple.org/",
            "//example.org/x",
            "https://example.org:0/", "https://example.org:99999/", "https://example.org\\@127.0.0.1/",
            "javascript:alert(1)",
            "https://[::1%25lo]/x", "https://example.org/\n", "httpsx://example.org", "$(id)", "../x", "https://é.org/",
        ])
    func refusesAddress(text: String) {
        let refusal = #expect(throws: Refusal.self) { try ImageAddress(text) }
        #expect(refusal?.code == .invalidRequest && refusal?.fields.first?.pointer == "/url")
    }

    @Test func readsAddress() throws {
        let address = try ImageAddress("HTTPS://Images.Example.ORG/a/debian.qcow2?x=1")
        #expect(address.host == "images.example.org" && address.port == 443 && address.isEncrypted)
        #expect(address.description == "https://images.example.org/a/debian.qcow2?x=1")
        let six = try ImageAddress("http://[2001:DB8::1]:8080/x")
        #expect(six.host == "2001:db8::1" && six.port == 8080 && !six.isEncrypted)
        #expect(six.description == "http://[2001:db8::1]:8080/x")
    }
}
