import ChunkPlane
import Foundation
import Logging
import ProtocolModel
import ProtocolTransfer
import Testing

@testable import AgentImages

/// Whom a host gives images to: the nodes that the manager named for that image, for as long as it names them.
@Suite struct ServingRightsTests {
    @Test("SEC-07 a node gets only what the manager lets it have, and nothing more from when it does not")
    func rights() throws {
        let site = try TestSite()
        let folder = NSTemporaryDirectory() + "roost-rights-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let credentials = try site.node(NodeID.generate(at: Timestamp(milliseconds: 1)))
        let cache = try ImageCache(
            configuration: ImageCache.Configuration(folder: folder),
            context: { () throws(TransferError) in try TLSContext(side: .client, credentials: credentials) },
            verify: site.verifier(), counters: TransferCounters(), logger: Logger(label: "test"))
        defer { cache.stop() }
        let (image, other) = (ImageID.generate(at: site.start), ImageID.generate(at: site.start))
        let (friend, stranger) = (NodeID.generate(at: site.start), NodeID.generate(at: site.start))
        let digest = try #require(ContentDigest(bytes: Array(repeating: 1, count: 32)))
        // Paused, so that nothing is fetched: what may be served does not depend on it.
        var assignment = ImageAssignmentValue(
            image: image, manifestDigest: digest, sizeBytes: 1 << 20, sources: [], serveTo: [friend], isPaused: true)
        #expect(!cache.mayServe(image, to: .node(friend)), "nothing is assigned yet")
        cache.apply([assignment])
        #expect(cache.mayServe(image, to: .node(friend)))
        #expect(!cache.mayServe(image, to: .node(stranger)))
        #expect(!cache.mayServe(image, to: .manager))
        #expect(!cache.mayServe(other, to: .node(friend)))
        // Disabled or removed, it is no longer among them.
        assignment.serveTo = []
        cache.apply([assignment])
        #expect(!cache.mayServe(image, to: .node(friend)))
        assignment.serveTo = [friend]
        cache.apply([assignment])
        cache.remove(image)
        #expect(!cache.mayServe(image, to: .node(friend)))
    }
}
