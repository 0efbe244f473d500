import Foundation
import ProtocolModel
import Testing

@testable import AgentHypervisor

@Suite("Files of instances")
final class InstanceFolderTests {
    private let data = NSTemporaryDirectory() + "roost-folder-\(UUID().uuidString)"
    private let instance = InstanceID.generate(at: SystemTime().timestamp)

    init() throws { try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: data) }

    private var folder: InstanceFolder { InstanceFolder(instance, in: data) }

    private func base(_ bytes: Int = 1 << 20) throws -> String {
        let path = data + "/base.raw"
        try Data(repeating: 7, count: bytes).write(to: URL(filePath: path))
        return path
    }

    private func mode(_ path: String) throws -> NSNumber? {
        try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? NSNumber
    }

    private func seed(
        hostName: String = "guest", sshKeys: [String] = [], userData: [UInt8] = [], metadata: [String: String] = [:]
    ) -> InstanceFolder.Seed {
        InstanceFolder.Seed(
            instance: instance, hostName: hostName, sshKeys: sshKeys, userData: userData, metadata: metadata)
    }

    private func json(_ bytes: some Sequence<UInt8>) throws -> NSDictionary {
        try #require(JSONSerialization.jsonObject(with: Data(bytes)) as? NSDictionary)
    }

    @Test("a disk is a closed overlay with both formats told, and is never made twice")
    func disk() async throws {
        let base = try base()
        #expect(InstanceFolder.all(in: data).isEmpty)
        try await folder.createDisk(base: base, sizeBytes: (4 << 20) - 1)
        #expect(InstanceFolder.all(in: data) == [instance])
        #expect(try mode(folder.diskPath) == 0o600)
        #expect(try mode(data + "/instances") == 0o711)
        #expect(try mode(data + "/instances/\(instance)") == 0o711)
        #expect(try FileManager.default.contentsOfDirectory(atPath: data + "/instances/\(instance)") == ["disk.qcow2"])
        try await HostProgram.run("qemu-img", ["compare", "-f", "raw", "-F", "qcow2", base, folder.diskPath])

        try Data("precious".utf8).write(to: URL(filePath: folder.diskPath))
        try await folder.createDisk(base: base, sizeBytes: 4 << 20)
        #expect(FileManager.default.contents(atPath: folder.diskPath) == Data("precious".utf8))
    }

    @Test("a header that was written into a raw disk stays bytes, and names no other file (SEC-02)")
    func writtenHeader() async throws {
        let secret = data + "/secret"
        try Data(repeating: 0x53, count: 1 << 20).write(to: URL(filePath: secret))
        // What a guest could write at the start of its disk: a whole qcow2 whose backing file is one of the host's.
        let base = data + "/base.raw"
        try await HostProgram.run("qemu-img", ["create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", base])
        let written = try #require(FileManager.default.contents(atPath: base))
        #expect(written.prefix(4) == Data([0x51, 0x46, 0x49, 0xFB]))
        try await folder.createDisk(base: base, sizeBytes: 4 << 20)
        let copy = data + "/copy"
        try await HostProgram.run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", folder.diskPath, copy])
        let seen = try #require(FileManager.default.contents(atPath: copy))
        #expect(seen.prefix(written.count) == written && seen.dropFirst(written.count).allSatisfy { $0 == 0 })
        #expect(seen.firstRange(of: Data(repeating: 0x53, count: 512)) == nil)
    }

    @Test(
        "only a guest that is to configure X gets a program for it, which finds the first graphics device of its host")
    func configureX() async throws {
        #expect(seed().vendorData == nil)
        var seed = seed()
        seed.configuresX = true
        let text = try #require(seed.vendorData)
        // The guest's buses, and where it would write.
        for (address, facts) in [
            ("0000:00:01.0", ("0x030000", "0x1b36")), ("0000:07:00.0", ("0x010802", "0x10de")),
            ("0000:1a:00.1", ("0x030200", "0x10de")), ("0000:1b:00.0", ("0x030000", "0x1002")),
        ] {
            let folder = data + "/sys/\(address)"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            try Data((facts.0 + "\n").utf8).write(to: URL(filePath: folder + "/class"))
            try Data((facts.1 + "\n").utf8).write(to: URL(filePath: folder + "/vendor"))
        }
        let program = data + "/configure"
        let moved = text.replacing("/sys/bus/pci/devices", with: data + "/sys").replacing(
            "/etc/X11", with: data + "/X11")
        try Data(moved.utf8).write(to: URL(filePath: program))
        try await HostProgram.run("sh", [program])
        let written = try #require(FileManager.default.contents(atPath: data + "/X11/xorg.conf"))
        #expect(
            String(decoding: written, as: UTF8.self)
                == "Section \"Device\"\n    Identifier \"GPU\"\n    Driver \"nvidia\"\n    BusID \"PCI:26@0:0:1\"\nEndSection\n"
        )
        // What the guest's owner wrote stays.
        try Data("mine".utf8).write(to: URL(filePath: data + "/X11/xorg.conf"))
        try await HostProgram.run("sh", [program])
        #expect(FileManager.default.contents(atPath: data + "/X11/xorg.conf") == Data("mine".utf8))

        try await folder.writeSeed(seed)
        let copied = data + "/vendor-data"
        try await HostProgram.run(
            "xorriso", ["-osirrox", "on", "-indev", folder.seedPath, "-extract", "/vendor-data", copied])
        #expect(FileManager.default.contents(atPath: copied) == Data(text.utf8))
    }

    @Test("what a crash left half made is made anew")
    func partial() async throws {
        let base = try base()
        try FileManager.default.createDirectory(
            atPath: data + "/instances/\(instance)", withIntermediateDirectories: true)
        try Data("half".utf8).write(to: URL(filePath: folder.diskPath + ".partial"))
        #expect(InstanceFolder.all(in: data).isEmpty)
        try await folder.createDisk(base: base, sizeBytes: 4 << 20)
        try await folder.writeSeed(seed())
        #expect(
            try Set(FileManager.default.contentsOfDirectory(atPath: data + "/instances/\(instance)"))
                == ["disk.qcow2", "seed.iso"])
    }

    @Test("a disk smaller than its image, and an image that is not there, are refused and leave nothing")
    func refusals() async throws {
        let base = try base()
        await #expect(throws: InstanceFolder.Failure.diskSmallerThanImage(disk: 1 << 10, image: 1 << 20)) {
            try await folder.createDisk(base: base, sizeBytes: 1 << 10)
        }
        await #expect(throws: InstanceFolder.Failure.self) {
            try await folder.createDisk(base: data + "/absent", sizeBytes: 4 << 20)
        }
        await #expect(throws: InstanceFolder.Failure.self) {
            try await folder.createDisk(base: "json:{\"file\": \"/etc/shadow\"}", sizeBytes: 4 << 20)
        }
        #expect(InstanceFolder.all(in: data).isEmpty)
    }

    @Test("everything of an instance goes, as often as asked, and nothing of another")
    func removal() async throws {
        let base = try base()
        let other = InstanceFolder(.generate(at: SystemTime().timestamp), in: data)
        try await other.createDisk(base: base, sizeBytes: 4 << 20)
        try await folder.createDisk(base: base, sizeBytes: 4 << 20)
        try await folder.writeSeed(seed())
        try folder.remove()
        try folder.remove()
        #expect(!FileManager.default.fileExists(atPath: data + "/instances/\(instance)"))
        #expect(FileManager.default.fileExists(atPath: other.diskPath))
        #expect(FileManager.default.fileExists(atPath: base))
    }

    @Test("the seed is an ISO 9660 file labelled cidata with both documents, closed to others")
    func seedFile() async throws {
        let userData = Array("#!/bin/sh\necho '\u{0}' \"$(id)\"\n".utf8)
        try await folder.writeSeed(seed(hostName: "first"))
        try await folder.writeSeed(seed(hostName: "second", userData: userData))
        #expect(try mode(folder.seedPath) == 0o600)
        let image = try #require(FileManager.default.contents(atPath: folder.seedPath))
        #expect(String(decoding: image[0x8028..<0x8030], as: UTF8.self).hasPrefix("cidata"))
        #expect(image.range(of: Data(userData)) != nil)
        #expect(image.range(of: Data("\"local-hostname\": \"second\"".utf8)) != nil)
        #expect(image.range(of: Data("first".utf8)) == nil)
        let mount = data + "/out"
        try await HostProgram.run("xorriso", ["-osirrox", "on", "-indev", folder.seedPath, "-extract", "/", mount])
        #expect(try Set(FileManager.default.contentsOfDirectory(atPath: mount)) == ["meta-data", "user-data"])
        #expect(FileManager.default.contents(atPath: mount + "/user-data") == Data(userData))
    }

    @Test(
        "names, keys and metadata say what they say and nothing else",
        arguments: [
            "plain", "a\nb: c", "\"quoted\" 'twice' \\ and / slashes", "- list", "#comment", "{}", "ä 😀",
            "\u{2028}\u{7F}\u{85}",
            "\u{0}", "%tag", "key: value", "&anchor *alias !tag | >", "\u{FEFF}",
        ])
    func exact(_ text: String) throws {
        let seed = seed(hostName: text, sshKeys: ["ssh-ed25519 AAAA \(text)"], metadata: [text: text, "b": text])
        let meta = try json(seed.metaDataText.utf8)
        #expect(meta["instance-id"] as? String == "\(instance)")
        #expect(meta["local-hostname"] as? String == text)
        #expect(meta["public-keys"] as? [String] == ["ssh-ed25519 AAAA \(text)"])
        #expect(meta["roost_metadata"] as? [String: String] == [text: text, "b": text])

        let user = seed.userDataBytes
        let header = Array("#cloud-config\n".utf8)
        #expect(Array(user.prefix(header.count)) == header)
        let config = try json(user.dropFirst(header.count))
        #expect(config["hostname"] as? String == text)
        #expect(config["ssh_authorized_keys"] as? [String] == ["ssh-ed25519 AAAA \(text)"])

        // YAML's own printable set (YAML 1.2 §5.1), with line breaks only where this side put them.
        let body = String(decoding: user.dropFirst(header.count), as: UTF8.self).dropLast()
        #expect(!body.unicodeScalars.contains { $0.value < 32 || (0x7F..<0xA0).contains($0.value) || $0 == "\u{2028}" })
    }

    @Test("user data goes in to the byte")
    func userData() {
        let bytes: [UInt8] = [0xFF, 0x00, 0x0A, 0x22]
        #expect(seed(userData: bytes).userDataBytes == bytes)
    }
}
