@testable import AgentDaemon
import AgentDurability
import AgentUplink
import ChunkPlane
import Foundation
import Logging
import ManagerFleetNetwork
import ProcessThreads
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import ProtocolTrust
import ProtocolWire
import Synchronization
import SwiftProtobuf
import TestsSupportAssignments

let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// A manager on loopback that says what a test wants it to say, and remembers what it hears.
final class TestManager: FleetBackend, ChunkSourceStore {
    struct State {
        var revision: UInt64 = 0
        var instances: [InstanceID: Roost_V1_InstanceAssignment] = [:]
        var session: AgentConnection?
        var sessions: UInt64 = 0
        var hellos: [Roost_V1_Hello] = []
        var inventories: [Roost_V1_Inventory] = []
        var statuses: [InstanceID: Roost_V1_InstanceStatus] = [:]
        var fullReports = 0
        var holds: [Roost_V1_HostHold] = []
        var acknowledged: UInt64 = 0
        var batches: [Data: [UInt64: Roost_V1_UsageBatch]] = [:]
        var duplicates = 0
        /// Commits usage but does not say so.
        var keepsSilentAboutUsage = false
        var agentPort = 0
    }

    let authority: SiteAuthority
    let managerKey = NodeKey()
    let managerCertificate: IssuedCertificate
    let image: Manifest
    private let content: [UInt8]
    let state = Mutex(State())
    private let chunkServer = Mutex<ChunkServer?>(nil)

    /// - Parameter content: of the one image.
    init(content: [UInt8] = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }) throws {
        let now = SystemTime().timestamp
        authority = try SiteAuthority.create(site: SiteID.generate(at: now), at: now)
        managerCertificate = try authority.signManager(
            key: managerKey, dnsNames: ["localhost"], addresses: ["127.0.0.1"], at: now)
        self.content = content
        image = try Manifest(
            image: someImage, sizeBytes: Int64(content.count), chunkDigests: Manifest.digest(of: content).bytes)
    }

    func identity() throws -> EnrolledIdentity {
        let now = SystemTime().timestamp
        let key = NodeKey()
        let issued = try authority.signNode(
            requestDER: try key.certificateRequest(name: "node"), node: NodeID.generate(at: now), at: now)
        return try EnrolledIdentity(
            keyPEM: key.pem, certificatePEM: issued.pem, authorityPEM: authority.certificatePEM)
    }

    /// Serves agents and chunks until its task is cancelled.
    func run() async throws {
        let credentials = TLSCredentials(
            certificatePEM: Array(managerCertificate.pem.utf8), privateKeyPEM: Array(managerKey.pem.utf8))
        let anchor = try TrustAnchor(authorityPEM: authority.certificatePEM)
        let chunks = try ChunkServer(
            configuration: ChunkServer.Configuration(address: "127.0.0.1:0", credentials: credentials), source: self,
            authorise: { _, _ in true }, verify: { anchor.verify(leafDER: $0, at: SystemTime().timestamp) },
            logger: silent)
        try chunks.start()
        chunkServer.withLock { $0 = chunks }
        let listener = try AgentListener(
            configuration: AgentListener.Configuration(
                host: "127.0.0.1", port: 0, keyPEM: managerKey.pem, certificateDER: managerCertificate.der,
                authorityDER: authority.certificateDER,
                times: SessionTimes(heartbeatInterval: .milliseconds(200))),
            backend: self, logger: silent, onListening: { port in self.state.withLock { $0.agentPort = port } })
        try await listener.run()
        let thread = BlockingThreads(name: "test-chunks")
        try? await thread.run { chunks.stop() }
        thread.close()
    }

    var chunkPort: UInt16 { chunkServer.withLock { $0?.port ?? 0 } }

    /// Wants these guests from now on; tells the agent by a delta, or by the whole set at its next session.
    func want(_ instances: [Roost_V1_InstanceAssignment], removing removed: [InstanceID] = []) {
        let (session, delta) = state.withLock { state -> (AgentConnection?, Roost_V1_AssignmentSet) in
            let base = state.revision
            state.revision += 1
            for message in instances {
                guard let id = InstanceID(bytes: message.instanceID) else { continue }
                state.instances[id] = message
            }
            for id in removed { state.instances[id] = nil }
            let revision = state.revision
            return (
                state.session,
                .with {
                    $0.revision = revision
                    $0.baseRevision = base
                    $0.instances = instances
                    $0.removedInstances = removed.map(\.bytes)
                }
            )
        }
        try? session?.send(.assignmentSet(delta))
    }

    /// Says something that does not follow from what was said before.
    func sendNonsense() {
        try? state.withLock { $0.session }?.send(
            .assignmentSet(
                .with {
                    $0.revision = 1000
                    $0.baseRevision = 999
                }))
    }

    func observed(_ id: InstanceID) -> Roost_V1_ObservedState? { state.withLock { $0.statuses[id]?.state } }

    func milliseconds(of id: InstanceID) -> Int64 {
        state.withLock { state in
            state.batches.values.flatMap(\.values).flatMap(\.samples).filter { $0.instanceID == id.bytes }
                .reduce(0) { $0 + $1.toMs - $1.fromMs }
        }
    }

    // MARK: FleetBackend

    func admit(_ peer: VerifiedPeer) async -> SessionRefusal? { nil }

    func enrol(
        _ request: Roost_V1_EnrolmentRequest, peer: VerifiedPeer?, remoteAddress: String
    ) async -> Result<Roost_V1_EnrolmentAnswer, SessionRefusal> { .failure(.joinTokenInvalid) }

    func open(
        _ hello: Roost_V1_Hello, peer: VerifiedPeer, session: AgentConnection
    ) async -> Result<Roost_V1_Welcome, SessionRefusal> {
        let (set, epoch) = state.withLock { state in
            state.session = session
            state.sessions += 1
            state.hellos.append(hello)
            state.statuses = [:]
            return (wholeSet(state), state.sessions)
        }
        try? session.send(.assignmentSet(set))
        return .success(
            .with {
                $0.sessionEpoch = epoch
                $0.usageIntervalMs = 100
            })
    }

    private func wholeSet(_ state: State) -> Roost_V1_AssignmentSet {
        .with {
            $0.revision = state.revision
            $0.full = true
            $0.instances = Array(state.instances.values)
            $0.images = [
                ImageAssignmentValue(
                    image: someImage, manifestDigest: image.digest, sizeBytes: image.sizeBytes,
                    sources: [ChunkSource(node: nil, address: ":\(chunkPort)")], serveTo: []
                ).message
            ]
        }
    }

    func received(_ message: ProtocolWire.Message, session: AgentConnection) async {
        switch message {
        case .inventory(let inventory): state.withLock { $0.inventories.append(inventory) }
        case .assignmentAcknowledgement(let message): state.withLock { $0.acknowledged = message.revision }
        case .statusReport(let report):
            state.withLock { state in
                if report.hasHostHold { state.holds.append(report.hostHold) }
                if report.full {
                    state.statuses = [:]
                    state.fullReports += 1
                }
                for status in report.instances {
                    guard let id = InstanceID(bytes: status.instanceID) else { continue }
                    state.statuses[id] = status
                }
            }
        case .usageBatch(let batch):
            let answers = state.withLock { state in
                if state.batches[batch.spoolID]?[batch.number] != nil { state.duplicates += 1 }
                state.batches[batch.spoolID, default: [:]][batch.number] = batch
                return !state.keepsSilentAboutUsage
            }
            guard answers else { return }
            try? session.send(
                .usageAcknowledgement(
                    .with {
                        $0.spoolID = batch.spoolID
                        $0.number = batch.number
                    }))
        default: break
        }
    }

    func closed(_ session: AgentConnection, reason: SessionRefusal?) async {
        state.withLock { state in
            if state.session === session { state.session = nil }
        }
    }

    // MARK: ChunkSourceStore

    func manifest(of image: ImageID) -> ManifestReading {
        image == someImage ? .manifest(self.image.serialised) : .notHeld
    }

    func chunk(
        _ index: Int, of image: ImageID, manifest: ContentDigest, waitingUpTo: Duration
    ) -> ChunkReading {
        index == 0 && image == someImage ? .chunk(EncodedChunk(encoding: .raw, bytes: content)) : .outOfRange
    }
}
