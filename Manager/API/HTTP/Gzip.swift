import CZlib

/// Compresses answers (RFC 1952) for clients that say they read that.
enum Gzip {
    /// Smaller ones gain nothing that anybody would see.
    static let minimumBytes = 1024

    /// The bytes compressed, at the level that costs least; `nil` where that does not make them fewer.
    static func compress(_ bytes: [UInt8]) -> [UInt8]? {
        var stream = z_stream()
        // 16 above the largest window asks for gzip's header instead of zlib's.
        let begun = deflateInit2_(
            &stream, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size))
        guard begun == Z_OK else { return nil }
        defer { deflateEnd(&stream) }
        var input = bytes
        let compressed = [UInt8](unsafeUninitializedCapacity: bytes.count) { output, count in
            input.withUnsafeMutableBufferPointer { input in
                stream.next_in = input.baseAddress
                stream.avail_in = UInt32(clamping: input.count)
                stream.next_out = output.baseAddress
                stream.avail_out = UInt32(clamping: output.count)
                // Where there is no room for the end, the compressed form is no shorter.
                if deflate(&stream, Z_FINISH) == Z_STREAM_END { count = Int(stream.total_out) }
            }
        }
        return compressed.isEmpty ? nil : compressed
    }

    /// Whether a header `Accept-Encoding` (RFC 9110 §12.5.3) allows it. Without the header a client gets what it can surely read.
    static func isAccepted(by header: String?) -> Bool {
        guard let header else { return false }
        var others = false
        for entry in header.lowercased().split(separator: ",") {
            let parts = entry.split(separator: ";").map(\.trimmed)
            guard let coding = parts.first else { continue }
            let isRefused = parts.dropFirst().contains { part in
                part.hasPrefix("q=") && (Double(part.dropFirst(2)) ?? 1) == 0
            }
            if coding == "gzip" || coding == "x-gzip" { return !isRefused }
            if coding == "*" { others = !isRefused }
        }
        return others
    }
}
