import ProtocolMessages
import ProtocolModel
import SwiftProtobuf

extension Roost_V1_AssignmentSet {
    /// The set in messages that each fit a frame; one, nearly always.
    ///
    /// - Parameter limit: bytes of a message. What belongs to one instance is far smaller and is never divided.
    func parts(limit: Int = Limits.framePayloadBytes) throws -> [Self] {
        let whole: [UInt8] = try serializedBytes()
        guard whole.count > limit else { return [self] }
        var empty = Self()
        (empty.revision, empty.full, empty.baseRevision) = (revision, full, baseRevision)
        empty.more = true
        if hasTransferLimits { empty.transferLimits = transferLimits }
        if hasCaptures { empty.captures = captures }
        // Room for the fields of the set itself, and around each entry for its tag and length.
        let (room, frame) = (limit - 64 - 64 * captures.captures.count, 16)
        var parts = [empty]
        var used = 0
        func add(_ size: Int, _ entry: (inout Self) -> Void) {
            if used + size + frame > room, used > 0 {
                parts.append(empty)
                used = 0
            }
            used += size + frame
            entry(&parts[parts.count - 1])
        }
        for instance in instances {
            let bytes: [UInt8] = try instance.serializedBytes()
            add(bytes.count) { $0.instances.append(instance) }
        }
        for image in images {
            let bytes: [UInt8] = try image.serializedBytes()
            add(bytes.count) { $0.images.append(image) }
        }
        for removed in removedInstances { add(removed.count) { $0.removedInstances.append(removed) } }
        for removed in removedImages { add(removed.count) { $0.removedImages.append(removed) } }
        parts[parts.count - 1].more = false
        return parts
    }
}
