import ChunkPlane
import ProcessThreads
import ProtocolModel
import ProtocolTransfer

/// One connection of a fetch, on a thread of its own: carries out what `FetchCore` wants of it, and tells what came.
struct FetchConnection {
    let lane: LaneID
    let source: ChunkSource
    let interrupt: TransferInterrupt
    let fetch: ImageFetch

    /// Signs come with every few kilobytes; they are told in larger steps.
    private final class Signs {
        var bytes = 0
        var toldAt = ContinuousClock.now
    }

    func run() {
        do {
            try pull()
        } catch let error as TransferError {
            fetch.ended(self, error)
        } catch let error as ImageCacheError {
            fetch.failed(self, error)
        } catch {
            fetch.failed(self, .file(path: "the image cache", reason: "\(error)"))
        }
    }

    private func pull() throws {
        let signs = Signs()
        var configuration = fetch.environment.client
        configuration.purpose = fetch.purpose
        let client = try ChunkClient(
            source: source, context: try fetch.environment.context(), verify: fetch.environment.verify,
            counters: fetch.environment.counters, interrupt: interrupt, configuration: configuration,
            watch: { sign throws(TransferError) in try see(sign, signs) })
        fetch.give(.connected(lane))
        while let order = fetch.waitForOrder(of: lane) {
            switch order {
            case .manifest:
                fetch.takeManifest(of: lane)
                try askManifest(client)
            case .chunk: try pullChunks(client, signs)
            }
        }
    }

    private func askManifest(_ client: ChunkClient) throws {
        guard let assignment = fetch.assignment else { return }
        do throws(TransferError) {
            let manifest = try client.manifest(
                of: fetch.image, digest: assignment.manifestDigest, sizeBytes: assignment.sizeBytes)
            try begin(manifest)
        } catch {
            guard let refusal = Self.refusal(error) else { throw error }
            fetch.refused(self, nil, refusal, error)
        }
    }

    private func begin(_ manifest: Manifest) throws(TransferError) {
        do throws(ImageCacheError) {
            try fetch.cached.begin(manifest)
            fetch.give(.manifest(held: fetch.cached.heldChunks))
        } catch {
            fetch.failed(self, error)
            throw .interrupted
        }
    }

    private func pullChunks(_ client: ChunkClient, _ signs: Signs) throws {
        guard let manifest = fetch.cached.currentManifest else { throw ImageCacheError.removed }
        try client.pull(
            manifest,
            next: {
                // An instance may have begun to wait for it meanwhile.
                client.purpose = fetch.purpose
                return fetch.takeChunk(of: lane)
            },
            deliver: { chunk throws(TransferError) in
                fetch.environment.client.governor.passAll(chunk.data.count, .disk, for: client.purpose) {
                    interrupt.isInterrupted
                }
                do throws(ImageCacheError) {
                    try fetch.cached.accept(chunk)
                } catch {
                    fetch.failed(self, error)
                    throw .interrupted
                }
                tell(signs)
                fetch.received(self, chunk.index)
            },
            refused: { index, error throws(TransferError) in
                fetch.refused(self, index, Self.refusal(error) ?? .unwilling, error)
            })
    }

    private func see(_ sign: ChunkClient.Sign, _ signs: Signs) throws(TransferError) {
        switch sign {
        case .bytes(let count):
            signs.bytes += count
            if .now - signs.toldAt >= .milliseconds(50) { tell(signs) }
        case .quiet: tell(signs)
        case .waiting(let waited): fetch.give(.waiting(lane, waited))
        case .answering(let waited):
            tell(signs)
            fetch.give(.answering(lane, waited: waited))
        }
        if interrupt.isInterrupted { throw .interrupted }
    }

    private func tell(_ signs: Signs) {
        signs.toldAt = .now
        guard signs.bytes > 0 else { return }
        fetch.took(signs.bytes, on: lane)
        signs.bytes = 0
    }

    private static func refusal(_ error: TransferError) -> FetchCore.Refusal? {
        switch error {
        case .notYet: .notYet
        case .notHeld, .notPermitted, .manifestDiffers: .unwilling
        default: nil
        }
    }

    /// What an error says of the source.
    static func failure(_ error: TransferError) -> SourceFailure {
        switch error {
        case .digestMismatch, .undecodable, .manifestDigestMismatch, .manifest: .lied
        case .timedOut: .silent
        case .notHeld, .notPermitted, .notYet, .manifestDiffers: .unavailable
        default: .broken
        }
    }
}
