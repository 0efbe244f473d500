import Foundation
import ProtocolModel
import Testing
import TestsSupportWaiting

@testable import AgentHypervisor

@Suite("Domains of a real libvirtd", .tags(.libvirt), .serialized, .enabled(if: LiveLibvirt.isWanted))
struct LibvirtHypervisorTests {
    @Test("the host describes itself")
    func description() async throws {
        try await LiveLibvirt.with { live in
            let description = try await live.hypervisor.describe()
            #expect(description.cpuCount >= 1)
            #expect(description.memoryBytes > 64 << 20)
            #expect(description.architecture == "x86_64")
            #expect(description.libvirtVersion.split(separator: ".").count == 3)
            #expect(description.hypervisorVersion != "0.0.0")
        }
    }

    @Test("agents that share a libvirt leave each other's domains alone")
    func neighbours() async throws {
        try await LiveLibvirt.with { live in
            let specification = try await live.specification(Sector.idle)
            let instance = specification.instance
            try await live.hypervisor.start(specification)
            let neighbour = LibvirtHypervisor(
                uri: LiveLibvirt.uri, node: .generate(at: Timestamp(milliseconds: 2)))
            #expect(try await !neighbour.domains().contains { $0.instance == instance })
            #expect(try await !neighbour.statistics().contains { $0.instance == instance })
            try await neighbour.powerOff(instance)
            try await neighbour.remove(instance)
            await #expect(throws: HypervisorError.foreignDomain(instance)) { try await neighbour.start(specification) }
            #expect(try await live.hypervisor.domains().first { $0.instance == instance }?.state == .running)
        }
    }

    @Test("a domain is started once, seen, counted, powered off with its reason, started again, and removed")
    func life() async throws {
        try await LiveLibvirt.with { live in
            let hypervisor = live.hypervisor
            var specification = try await live.specification(Sector.idle)
            let instance = specification.instance
            try await hypervisor.start(specification)
            let seen = try #require(try await hypervisor.domains().first { $0.instance == instance })
            #expect(seen.state == .running)
            #expect(seen.epoch == Epoch(3))
            #expect(seen.powerCycle == PowerCycle(7))
            #expect(seen.startedAt == specification.startedAt)
            await #expect(throws: HypervisorError.domainRuns(instance)) { try await hypervisor.start(specification) }

            try await eventually("statistics tell processor time and reads") {
                let counted = try await hypervisor.statistics().first { $0.instance == instance }
                return (counted?.cpuTimeNanoseconds ?? 0) > 0 && (counted?.diskReadBytes ?? 0) > 0
            }
            let counted = try #require(try await hypervisor.statistics().first { $0.instance == instance })
            #expect(counted.powerCycle == PowerCycle(7))
            #expect(counted.memoryBytes == 64 << 20)
            #expect(counted.memoryResidentBytes > 0)
            #expect((1..<(8 << 20)).contains(counted.diskAllocatedBytes))

            try await hypervisor.powerOff(instance)
            try await hypervisor.powerOff(instance)
            #expect(try await state(hypervisor, instance) == .shutOff(.destroyed))
            #expect(try await !hypervisor.statistics().contains { $0.instance == instance })
            try await hypervisor.requestShutdown(instance)

            specification.powerCycle = PowerCycle(8)
            try await hypervisor.start(specification)
            #expect(try await hypervisor.domains().first { $0.instance == instance }?.powerCycle == PowerCycle(8))

            try await hypervisor.remove(instance)
            try await hypervisor.remove(instance)
            #expect(try await state(hypervisor, instance) == nil)
            await #expect(throws: HypervisorError.noSuchDomain(instance)) {
                try await hypervisor.requestShutdown(instance)
            }
        }
    }

    @Test("while a guest runs, QEMU's user owns its disk but not the image below (P7), and others can open neither")
    func ownership() async throws {
        try await LiveLibvirt.with { live in
            let specification = try await live.specification(Sector.idle)
            let base = try #require(specification.basePath)
            try await live.hypervisor.start(specification)
            let manager = FileManager.default
            let disk = try manager.attributesOfItem(atPath: specification.diskPath)
            #expect(disk[.ownerAccountID] as? NSNumber != 0)
            #expect(disk[.posixPermissions] as? NSNumber == 0o600)
            let seed = try manager.attributesOfItem(atPath: specification.seedPath)
            #expect(seed[.posixPermissions] as? NSNumber == 0o600)
            #expect(try manager.attributesOfItem(atPath: base)[.ownerAccountID] as? NSNumber == 0)
        }
    }

    @Test("a guest that powers itself off is told from one whose QEMU was killed")
    func reasons() async throws {
        try await LiveLibvirt.with { live in
            let hypervisor = live.hypervisor
            let heard = Recorder()
            let listening = Task { for await event in hypervisor.events { heard.add(event) } }
            defer { listening.cancel() }

            let obedient = try await live.specification(Sector.powerOff)
            try await hypervisor.start(obedient)
            try await eventually("the guest powers itself off") {
                try await state(hypervisor, obedient.instance) == .shutOff(.guestShutdown)
            }
            try await eventually("its end is told") { heard.has(.stopped(obedient.instance, .guestShutdown)) }
            #expect(heard.has(.started(obedient.instance)))
            try await hypervisor.remove(obedient.instance)

            let victim = try await live.specification(Sector.idle)
            try await hypervisor.start(victim)
            #expect(kill(try emulatorProcess(victim.instance), SIGKILL) == 0)
            try await eventually("the crash is told") { heard.has(.stopped(victim.instance, .crashed)) }
            try await eventually("the crash is seen") {
                try await state(hypervisor, victim.instance) == .shutOff(.crashed)
            }
        }
    }

    @Test("a domain that is not ours is neither listed nor changed, whatever its name and UUID")
    func foreign() async throws {
        try await LiveLibvirt.with { live in
            let hypervisor = live.hypervisor
            let specification = try await live.specification(Sector.idle)
            let instance = specification.instance
            let document = """
                <domain type='qemu'><name>roost-\(instance)</name><uuid>\(instance)</uuid><title>theirs</title>
                <memory unit='MiB'>32</memory><os><type arch='x86_64' machine='q35'>hvm</type></os></domain>
                """
            let path = live.folder + "/foreign.xml"
            try Data(document.utf8).write(to: URL(filePath: path))
            try await HostProgram.run("virsh", ["-q", "-c", LiveLibvirt.uri, "define", path])
            #expect(try await state(hypervisor, instance) == nil)
            await #expect(throws: HypervisorError.foreignDomain(instance)) { try await hypervisor.start(specification) }
            try await hypervisor.powerOff(instance)
            try await hypervisor.remove(instance)
            // Succeeds only if it is still there.
            try await HostProgram.run("virsh", ["-q", "-c", LiveLibvirt.uri, "undefine", "roost-\(instance)"])
        }
    }

    @Test("a start that fails says why, and succeeds once the reason is gone")
    func failedStart() async throws {
        try await LiveLibvirt.with { live in
            var specification = try await live.specification(Sector.idle)
            let disk = specification.diskPath
            specification.diskPath = live.folder + "/absent.qcow2"
            do throws(HypervisorError) {
                try await live.hypervisor.start(specification)
                Issue.record("a domain without a disk was started")
            } catch {
                #expect(error.description.contains("absent.qcow2"))
            }
            specification.diskPath = disk
            try await live.hypervisor.start(specification)
            #expect(try await state(live.hypervisor, specification.instance) == .running)
        }
    }

    @Test("a guest of other hardware than the ordinary runs, and libvirt shows what it was given")
    func hardware() async throws {
        try await LiveLibvirt.with { live in
            var specification = try await live.specification(Sector.idle)
            specification.vcpus = 2
            specification.hardware = try GuestHardware(settings: [
                "hw_machine_type": "q35", "hw_video_model": "virtio", "hw_vif_model": "e1000e", "hw_disk_bus": "scsi",
                "hw_input_bus": "usb", "hw_watchdog_action": "poweroff", "hw_qemu_guest_agent": "true",
                "hw_cpu_sockets": "1", "os_type": "windows", "quota:disk_read_bytes_sec": "1048576",
                "quota:disk_total_iops_sec": "500",
            ])
            try await live.hypervisor.start(specification)
            let shown = try await Self.shown(specification.instance)
            for part in [
                "machine='pc-q35", "<read_bytes_sec>1048576</read_bytes_sec>", "<total_iops_sec>500</total_iops_sec>",
                "<model type='virtio' heads='1'", "<model type='e1000e'/>",
                "<target dev='vda' bus='scsi'/>", "<input type='tablet' bus='usb'>", "action='poweroff'",
                "org.qemu.guest_agent.0", "cores='2'", "<clock offset='localtime'>",
            ] { #expect(shown.contains(part), "\(part) is not in \(shown)") }
            try await live.hypervisor.remove(specification.instance)

            // The older line of machines, with its own disks.
            specification.hardware = try GuestHardware(settings: [
                "hw_machine_type": "pc", "hw_disk_bus": "ide", "hw_video_model": "qxl", "hw_video_ram": "8",
                "hw_vif_model": "rtl8139",
            ])
            try await live.hypervisor.start(specification)
            let old = try await Self.shown(specification.instance)
            #expect(old.contains("machine='pc-i440fx") && old.contains("<target dev='vda' bus='ide'/>"))
            #expect(old.contains("vram='8192'"))
            try await live.hypervisor.remove(specification.instance)
        }
    }

    @Test("a guest with a place lies on its processors and its NUMA node, and one without keeps off them")
    func place() async throws {
        try await LiveLibvirt.with { live in
            var specification = try await live.specification(Sector.idle)
            specification.place = DomainPlace(cells: [
                .init(host: 0, vcpus: 1, memoryBytes: 64 << 20, processors: [1], shared: .none)
            ])
            try await live.hypervisor.start(specification)
            let shown = try await Self.shown(specification.instance)
            for part in [
                "<vcpu placement='static' cpuset='1'>1</vcpu>", "<memnode cellid='0' mode='preferred' nodeset='0'/>",
            ] {
                #expect(shown.contains(part), "\(part) is not in \(shown)")
            }
            try await live.hypervisor.remove(specification.instance)
            specification.place = DomainPlace(shared: ProcessorSet([0]))
            try await live.hypervisor.start(specification)
            #expect(try await Self.shown(specification.instance).contains("cpuset='0'"))
            try await live.hypervisor.remove(specification.instance)
        }
    }

    @Test("what a UEFI remembers stays while the guest is off, and lies beside its disk")
    func uefi() async throws {
        try await LiveLibvirt.with { live in
            var specification = try await live.specification(Sector.idle)
            specification.hardware = try GuestHardware(settings: ["hw_firmware_type": "uefi"])
            specification.nvramPath = InstanceFolder(specification.instance, in: live.folder).nvramPath
            try await live.hypervisor.start(specification)
            #expect(try await Self.shown(specification.instance).contains(specification.nvramPath))
            try await live.hypervisor.remove(specification.instance)
            let kept = try #require(FileManager.default.contents(atPath: specification.nvramPath))
            #expect(!kept.isEmpty)
            try await live.hypervisor.start(specification)
            #expect(try await state(live.hypervisor, specification.instance) == .running)
            try await live.hypervisor.remove(specification.instance)
        }
    }

    @Test("hardware that the host does not have is refused with what was asked for, and nothing is defined")
    func hardwareRefused() async throws {
        try await LiveLibvirt.with { live in
            var specification = try await live.specification(Sector.idle)
            for (settings, word) in [(["hw_machine_type": "virt"], "virt"), (["hw_cpu_cores": "3"], "hw_cpu_cores")] {
                specification.hardware = try GuestHardware(settings: settings)
                do throws(HypervisorError) {
                    try await live.hypervisor.start(specification)
                    Issue.record("\(settings) were given")
                } catch {
                    guard case .hardwareRefused(let sentence) = error, sentence.contains(word) else {
                        Issue.record("\(error)")
                        continue
                    }
                }
            }
            #expect(try await state(live.hypervisor, specification.instance) == nil)
        }
    }

    /// As `virsh dumpxml` has it.
    private static func shown(_ instance: InstanceID) async throws -> String {
        let virsh = Process()
        virsh.executableURL = URL(filePath: "/usr/bin/virsh")
        virsh.arguments = ["-q", "-c", LiveLibvirt.uri, "dumpxml", "roost-\(instance)"]
        let output = Pipe()
        virsh.standardOutput = output
        try virsh.run()
        let text = try output.fileHandleForReading.readToEnd() ?? Data()
        virsh.waitUntilExit()
        return String(decoding: text, as: UTF8.self)
    }

    @Test("a libvirtd that is not there is said to be not there")
    func absent() async throws {
        let hypervisor = LibvirtHypervisor(
            uri: "qemu+unix:///system?socket=/nowhere/libvirt-sock", node: .generate(at: Timestamp(milliseconds: 0)))
        do throws(HypervisorError) {
            _ = try await hypervisor.domains()
            Issue.record("a libvirtd that is not there answered")
        } catch {
            guard case .unreachable = error else {
                Issue.record("\(error)")
                return
            }
        }
    }

    private func state(_ hypervisor: LibvirtHypervisor, _ instance: InstanceID) async throws -> DomainState? {
        try await hypervisor.domains().first { $0.instance == instance }?.state
    }
}
