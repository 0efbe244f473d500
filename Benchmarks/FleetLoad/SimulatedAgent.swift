import AgentManagers
import AgentUplink
import Foundation
import Logging
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import ProtocolWire
import SwiftProtobuf
import Synchronization

/// What all simulated agents have done together.
final class Tally: Sendable {
    private struct Counts {
        var open = 0
        var lost = 0
        var heartbeats = 0
    }

    private let counts = Mutex(Counts())

    func opened() { counts.withLock { $0.open += 1 } }

    func ended() {
        counts.withLock {
            $0.open -= 1
            $0.lost += 1
        }
    }

    func beat() { counts.withLock { $0.heartbeats += 1 } }

    /// As the benchmark reads it.
    var line: String { counts.withLock { "open \($0.open) lost \($0.lost) heartbeats \($0.heartbeats)" } }
}

/// A host as the manager sees it: inventory and full status at the start of a session, then heartbeats, an acknowledgement of
/// each assignment set, and the word that what it asks for is so: images are held and guests are ready at once.
final class SimulatedAgent: UplinkDelegate {
    static let version = "0.0.0-simulated"

    static func name(_ number: Int) -> String { "simulated-\(number)" }

    private struct State {
        var sender: UplinkSender?
        var revision: UInt64 = 0
    }

    private let number: Int
    private let manager: ManagerAddress
    private let identity: EnrolledIdentity
    private let tally: Tally
    private let boot = BootID.generate(at: SystemTime().timestamp)
    private let process = BootID.generate(at: SystemTime().timestamp)
    private let state = Mutex(State())

    init(number: Int, manager: ManagerAddress, identity: EnrolledIdentity, tally: Tally) throws {
        self.number = number
        self.manager = manager
        self.identity = identity
        self.tally = tally
    }

    /// Keeps a session until the task is cancelled.
    func run() async {
        var logger = Logger(label: "simulated-agent")
        logger.logLevel = .warning
        guard
            let uplink = try? Uplink(
                configuration: .init(managers: [manager], softwareVersion: Self.version), identity: identity,
                delegate: self, logger: logger)
        else { return }
        await uplink.run()
    }

    // MARK: UplinkDelegate

    func hello() async -> Roost_V1_Hello {
        .with {
            $0.bootID = boot.bytes
            $0.processID = process.bytes
            $0.appliedRevision = state.withLock { $0.revision }
        }
    }

    func sessionStarted(_ welcome: Roost_V1_Welcome, send: UplinkSender) async {
        state.withLock { $0.sender = send }
        tally.opened()
        try? await send.send(.inventory(Self.inventory(name: Self.name(number))))
        try? await send.send(.statusReport(.with { $0.full = true }))
    }

    func received(_ message: ProtocolWire.Message) async {
        guard case .assignmentSet(let set) = message else { return }
        let sender = state.withLock { state in
            state.revision = set.revision
            return state.sender
        }
        try? await sender?.send(.assignmentAcknowledgement(.with { $0.revision = set.revision }))
        let report = Self.report(of: set, at: SystemTime().timestamp)
        if !report.images.isEmpty || !report.instances.isEmpty { try? await sender?.send(.statusReport(report)) }
    }

    /// What a host says on which all that is wanted comes true at once.
    static func report(of set: Roost_V1_AssignmentSet, at now: Timestamp) -> Roost_V1_StatusReport {
        .with {
            $0.images = set.images.map { image in
                let bytes = Int64(image.sizeBytes)
                let chunks = UInt32(
                    Manifest.chunkCount(imageBytes: bytes, chunkBytes: Manifest.chunkBytes(forImageBytes: bytes)))
                return .with {
                    $0.imageID = image.imageID
                    $0.state = .held
                    $0.chunksHeld = chunks
                    $0.chunksTotal = chunks
                }
            }
            $0.instances = set.instances.map { instance in
                .with {
                    $0.instanceID = instance.instanceID
                    $0.epoch = instance.epoch
                    $0.generation = instance.generation
                    $0.powerCycle = instance.powerCycle
                    $0.atMs = now.milliseconds
                    switch instance.desired {
                    case .running:
                        $0.state = .running
                        $0.domainStartedMs = now.milliseconds
                    case .deleted: $0.state = .deleted
                    default: $0.state = .stopped
                    }
                }
            }
        }
    }

    func heartbeat() async -> Roost_V1_Heartbeat {
        tally.beat()
        return .with {
            $0.loadAverage1M = Double.random(in: 0...64)
            $0.memoryAvailableBytes = UInt64.random(in: 1 << 30...256 << 30)
            $0.cacheAvailableBytes = 1 << 40
            $0.appliedRevision = state.withLock { $0.revision }
        }
    }

    func sessionEnded(_ end: SessionEnd) async {
        state.withLock { $0.sender = nil }
        tally.ended()
    }

    func certificateRenewed(_ identity: EnrolledIdentity) async throws {}

    // MARK: The host

    static func inventory(name: String) -> Roost_V1_Inventory {
        .with {
            $0.hostName = name
            $0.cpuModel = "Simulated CPU @ 2.40GHz"
            $0.architecture = "x86_64"
            $0.cpuCount = 64
            $0.memoryBytes = 256 << 30
            $0.diskBytes = 2 << 40
            $0.diskAvailableBytes = 1 << 40
            $0.libvirtVersion = "9.0.0"
            $0.hypervisorVersion = "7.2.0"
            $0.accelerator = "kvm"
            $0.acceleratorReason = "simulated"
            $0.kernelVersion = "6.1.0-simulated"
            $0.guestSubnet = "192.168.177.0/24"
            $0.chunkAddress = "127.0.0.1:7402"
            $0.pciDevices = (0..<8).map { slot in
                .with {
                    $0.address = "0000:\(slot)0:00.0"
                    $0.vendor = 0x10DE
                    $0.product = 0x2330
                    $0.classCode = 0x030200
                    $0.iommuGroup = Int32(slot)
                    $0.numaNode = Int32(slot % 2)
                    $0.driver = "vfio-pci"
                }
            }
        }
    }
}
