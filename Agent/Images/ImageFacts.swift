import Foundation
import ProtocolModel

/// What is remembered of a cached image beside its content, in a small file of its own. Losing it costs nothing but
/// knowledge: the image counts as never used and never checked.
struct ImageFacts: Sendable, Equatable {
    var heldSince: Timestamp?
    var lastUsed: Timestamp?
    var verifiedAt: Timestamp?
    /// Chunks that were found corrupt since the copy began.
    var corruptChunks = 0

    /// Uses closer together than this are not written again.
    static let useGranularity = Duration.seconds(600)
    private static let limit = 4096

    private struct Document: Codable {
        var held_since_ms: Int64?
        var last_used_ms: Int64?
        var verified_ms: Int64?
        var corrupt_chunks: Int?
    }

    init() {}

    init(readFrom path: String) {
        guard let bytes = CacheFile.contents(path, limit: Self.limit),
            let document = try? JSONDecoder().decode(Document.self, from: Data(bytes))
        else { return }
        heldSince = document.held_since_ms.map(Timestamp.init(milliseconds:))
        lastUsed = document.last_used_ms.map(Timestamp.init(milliseconds:))
        verifiedAt = document.verified_ms.map(Timestamp.init(milliseconds:))
        corruptChunks = max(0, document.corrupt_chunks ?? 0)
    }

    func write(to path: String) throws(ImageCacheError) {
        let document = Document(
            held_since_ms: heldSince?.milliseconds, last_used_ms: lastUsed?.milliseconds,
            verified_ms: verifiedAt?.milliseconds, corrupt_chunks: corruptChunks)
        guard let bytes = try? JSONEncoder().encode(document) else { return }
        try CacheFile.replace(path, with: Array(bytes))
    }
}
