import Foundation
import ProtocolModel
import Synchronization
import Testing
import TestsSupportWaiting

@testable import AgentHypervisor

@Suite("Copies of disks by a real libvirtd", .tags(.libvirt), .serialized, .enabled(if: LiveLibvirt.isWanted))
struct DiskCopyTests {
    private struct Source {
        var specification: DomainSpecification
        var copy: DiskCopy
        var folder: String
    }

    /// A guest whose overlay differs from its image, and an empty folder for copies.
    private func source(_ live: LiveLibvirt, sizeBytes: UInt64 = 4 << 20) async throws -> Source {
        let specification = try await live.specification(Sector.idle)
        let disk = try #require(InstanceFolder(specification.instance, in: live.folder).existingDisk)
        if sizeBytes != 4 << 20 {
            try await HostProgram.run("qemu-img", ["resize", "-q", "-f", "qcow2", disk.path, "\(sizeBytes)"])
        }
        try await HostProgram.run(
            "qemu-io", ["-f", "qcow2", "-c", "write -q -P 0xab 2M 1M", "-c", "write -q -P 0xcd 4k 4k", disk.path])
        let folder = live.folder + "/copies"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o711])
        let image = ImageID.generate(at: SystemTime().timestamp)
        return Source(
            specification: specification,
            copy: DiskCopy(
                image: image, instance: specification.instance, disk: disk, target: "\(folder)/\(image).partial"),
            folder: folder)
    }

    /// What QEMU's own tool makes of the disk.
    private func expected(_ source: Source) async throws -> Data {
        let raw = source.folder + "/expected"
        try await HostProgram.run(
            "qemu-img", ["convert", "-U", "-f", "qcow2", "-O", "raw", source.copy.disk.path, raw])
        defer { try? FileManager.default.removeItem(atPath: raw) }
        return try Data(contentsOf: URL(filePath: raw))
    }

    private func copied(_ source: Source) throws -> Data { try Data(contentsOf: URL(filePath: source.copy.target)) }

    private func isThere(_ name: String, _ live: LiveLibvirt) async throws -> Bool {
        try await live.hypervisor.connection.call { try DomainHandle(named: name, on: $0) != nil }
    }

    private func job(of name: String, _ live: LiveLibvirt) async throws -> DomainJob? {
        try await live.hypervisor.connection.call { connection in
            guard let domain = try DomainHandle(named: name, on: connection) else { return nil }
            return try domain.job(completed: false)
        }
    }

    @Test("the disk of a guest that runs is copied as it is, image and overlay together, and the guest runs on")
    func running() async throws {
        try await LiveLibvirt.with { live in
            let source = try await source(live)
            let wanted = try await expected(source)
            try await live.hypervisor.start(source.specification)
            try await live.hypervisor.copyDisk(source.copy, running: true) { _ in }
            #expect(try copied(source) == wanted)
            let seen = try await live.hypervisor.domains().first { $0.instance == source.specification.instance }
            #expect(seen?.state == .running && seen?.powerCycle == PowerCycle(7))
            // Nothing is left that would keep a second one out.
            var again = source
            again.copy.target += "2"
            try await live.hypervisor.copyDisk(again.copy, running: true) { _ in }
            #expect(try copied(again) == wanted)
        }
    }

    @Test("the disk of a guest that is stopped is copied, no domain stays, and the guest can be started at once")
    func stopped() async throws {
        try await LiveLibvirt.with { live in
            let source = try await source(live)
            let wanted = try await expected(source)
            try await live.hypervisor.copyDisk(source.copy, running: false) { _ in }
            #expect(try copied(source) == wanted)
            #expect(try await !isThere(CopyXML.name(of: source.copy.image), live))
            #expect(try await expected(source) == wanted, "the disk itself is as it was")
            try await live.hypervisor.start(source.specification)
        }
    }

    @Test("a disk that is a copy of its image, and no overlay, is copied too")
    func rawDisk() async throws {
        try await LiveLibvirt.with { live in
            var source = try await source(live)
            let raw = live.folder + "/disk.raw"
            let content = try await expected(source)
            try content.write(to: URL(filePath: raw))
            source.copy.disk = InstanceFolder.Disk(path: raw, format: .raw)
            try await live.hypervisor.copyDisk(source.copy, running: false) { _ in }
            #expect(try copied(source) == content)
        }
    }

    @Test("a copy that is stopped leaves no job and no domain", arguments: [true, false])
    func cancelled(running: Bool) async throws {
        try await LiveLibvirt.with { live in
            // Large enough to be under way for a while: all of it is written, on top of the image.
            let source = try await source(live, sizeBytes: 2 << 30)
            try await HostProgram.run(
                "qemu-io", ["-f", "qcow2", "-c", "write -q -P 0x11 4M 1500M", source.copy.disk.path])
            if running { try await live.hypervisor.start(source.specification) }
            let isBegun = Mutex(false)
            let work = Task {
                try await live.hypervisor.copyDisk(source.copy, running: running) { _ in isBegun.withLock { $0 = true }
                }
            }
            try await eventually("the copy is under way") { isBegun.withLock { $0 } }
            work.cancel()
            await #expect(throws: HypervisorError.self) { try await work.value }
            let name = running ? "roost-\(source.specification.instance)" : CopyXML.name(of: source.copy.image)
            #expect(try await isThere(name, live) == running)
            if running {
                // A new one may begin: nothing of the old one is there.
                try await live.hypervisor.endCopies(into: source.folder)
                #expect(try await job(of: name, live)?.isActive != true)
            }
        }
    }

    @Test("what an agent that was killed left is ended by the next one; another's, and a job of somebody else, are not")
    func leftBehind() async throws {
        try await LiveLibvirt.with { live in
            let source = try await source(live, sizeBytes: 2 << 30)
            try await HostProgram.run(
                "qemu-io", ["-f", "qcow2", "-c", "write -q -P 0x11 4M 1500M", source.copy.disk.path])
            try await live.hypervisor.start(source.specification)
            let name = "roost-\(source.specification.instance)"
            let target = source.copy.target
            /// Begun, and followed by nobody.
            func begin(_ target: String) async throws {
                try await live.hypervisor.connection.call { connection in
                    guard let domain = try DomainHandle(named: name, on: connection), domain.beginBackup(to: target)
                    else { throw LibvirtConnection.lastError }
                }
            }
            func end() async throws -> DomainJob? {
                try await eventually("the job is over") { try await job(of: name, live)?.isActive != true }
                return try await live.hypervisor.connection.call { connection in
                    try DomainHandle(named: name, on: connection)?.job(completed: true)
                }
            }
            let neighbour = LibvirtHypervisor(uri: LiveLibvirt.uri, node: .generate(at: Timestamp(milliseconds: 2)))
            try await begin(live.folder + "/backup-of-somebody-else")
            await #expect(throws: HypervisorError.jobRuns(source.specification.instance)) {
                try await live.hypervisor.copyDisk(source.copy, running: true) { _ in }
            }
            try await live.hypervisor.endCopies(into: source.folder)
            try await neighbour.endCopies(into: live.folder)
            #expect(try await end()?.hasSucceeded == true, "nobody ended it")

            try await begin(target + "2")
            try await live.hypervisor.endCopies(into: source.folder)
            #expect(try await end()?.hasSucceeded == false)
            try await begin(target + "3")
            try await live.hypervisor.copyDisk(source.copy, running: true) { _ in }
        }
    }

    /// With a libvirtd of its own, which sees what is mounted here.
    @Test("a host whose disk runs full is told as such, and nothing runs on", arguments: [true, false])
    func full(running: Bool) async throws {
        let folder = "/var/tmp/roost-full-\(String(UInt16.random(in: 0...UInt16.max), radix: 16))"
        let small = folder + "/small"
        for path in [folder, small] {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o711])
        }
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try await HostProgram.run("mount", ["-t", "tmpfs", "-o", "size=512k,mode=711", "tmpfs", small])
        let daemon = try PrivateLibvirtd(folder: folder)
        var failure: (any Error)?
        do {
            try await daemon.start()
            try await LiveLibvirt.with(uri: daemon.uri) { live in
                let source = try await source(live)
                var copy = source.copy
                copy.target = "\(small)/\(copy.image).partial"
                if running { try await live.hypervisor.start(source.specification) }
                let wanted = copy
                await #expect(throws: HypervisorError.diskFull(path: wanted.target)) {
                    try await live.hypervisor.copyDisk(wanted, running: running) { _ in }
                }
                #expect(try await !isThere(CopyXML.name(of: copy.image), live))
                if running { #expect(try await job(of: "roost-\(copy.instance)", live)?.isActive != true) }
            }
        } catch {
            failure = error
        }
        try await daemon.kill()
        try await HostProgram.run("umount", ["-l", small])
        if let failure { throw failure }
    }

    @Test("a guest that ends while its disk is copied is told apart from a copy that failed")
    func ended() async throws {
        try await LiveLibvirt.with { live in
            let source = try await source(live)
            await #expect(throws: HypervisorError.domainStopped(source.specification.instance)) {
                try await live.hypervisor.copyDisk(source.copy, running: true) { _ in }
            }
        }
    }

    @Test("names are of identifiers alone, and what libvirt hands back is read as it was written (SEC-06)")
    func text() throws {
        let image = ImageID.generate(at: Timestamp(milliseconds: 5))
        #expect(CopyXML.namedImage(CopyXML.name(of: image)) == image)
        #expect(CopyXML.namedImage("roost-\(image)") == nil && CopyXML.namedImage("roost-copy-x") == nil)
        let path = "/a&b/<c>\"d'/x.partial"
        #expect(CopyXML.target(job: CopyXML.job(target: path)) == path)
        #expect(CopyXML.target(job: "<domainbackup/>") == nil && CopyXML.target(job: "no XML") == nil)
        let copy = DiskCopy(
            image: image, instance: .generate(at: Timestamp(milliseconds: 6)),
            disk: InstanceFolder.Disk(path: path, format: .qcow2), target: path)
        let node = NodeID.generate(at: Timestamp(milliseconds: 7))
        #expect(CopyXML.domain(copy, base: path, node: node).contains("/a&amp;b/&lt;c&gt;&quot;d&apos;/x.partial"))
        #expect(CopyXML.node(marks: "<roost:copy xmlns:roost='x' image='\(image)' node='\(node)'/>") == node)
        #expect(CopyXML.node(marks: "<roost:instance xmlns:roost='x' id='\(image)' node='\(node)'/>") == nil)
    }
}
