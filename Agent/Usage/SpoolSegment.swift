import AgentDurability
import Foundation
import ProtocolMessages
import ProtocolModel

/// One file of the spool: a header, then records, each a batch and the sampler's state after it.
///
/// ```
/// header  "RUS1"  spool ID (16)  number of the first batch (8)  CRC-32C of what stands before (4)
/// record  length of the body (4)  CRC-32C of the body (4)  body
/// body    length of the batch (4)  UsageBatch  Sampler.State as JSON
/// ```
struct SpoolSegment: Sendable {
    static let magic = Array("RUS1".utf8)
    static let headerBytes = 32
    static let recordHeaderBytes = 8
    /// More than any batch and its state take.
    static let recordLimit = 16 << 20

    let sequence: UInt64
    let spool: SpoolID
    let firstNumber: UInt64
    var count: UInt64
    var bytes: Int

    var nextNumber: UInt64 { firstNumber + count }

    var fileName: String {
        let digits = String(sequence)
        return String(repeating: "0", count: max(0, 20 - digits.count)) + digits + ".usage"
    }

    static func sequence(fileName: String) -> UInt64? {
        guard fileName.hasSuffix(".usage"), fileName.utf8.count == 26 else { return nil }
        return UInt64(fileName.dropLast(6))
    }

    static func header(spool: SpoolID, firstNumber: UInt64) -> [UInt8] {
        let body = magic + Array(spool.bytes) + firstNumber.littleEndianBytes
        return body + Checksum.crc32c(body).littleEndianBytes
    }

    static func record(_ batch: [UInt8], state: [UInt8]) -> [UInt8] {
        let body = UInt32(batch.count).littleEndianBytes + batch + state
        return UInt32(body.count).littleEndianBytes + Checksum.crc32c(body).littleEndianBytes + body
    }

    /// What a file holds, as far as it is whole.
    struct Contents {
        var segment: SpoolSegment
        var batches: [ArraySlice<UInt8>]
        var lastState: ArraySlice<UInt8>?
        var damage: Damage
    }

    enum Damage: Equatable {
        case none
        /// The last record was being written when the process or the host stopped; nobody has seen it.
        case tornTail
        /// Bytes that were once whole are not any more, so records that were sent may be gone.
        case rotten
    }

    /// `nil` where not even the header is whole.
    static func parse(_ bytes: [UInt8], sequence: UInt64) -> Contents? {
        guard bytes.count >= headerBytes, Array(bytes[..<4]) == magic,
            UInt32(littleEndianBytes: bytes[28..<32]) == Checksum.crc32c(bytes[..<28]),
            let spool = SpoolID(bytes: bytes[4..<20]), let first = UInt64(littleEndianBytes: bytes[20..<28])
        else { return nil }
        var contents = Contents(
            segment: SpoolSegment(sequence: sequence, spool: spool, firstNumber: first, count: 0, bytes: headerBytes),
            batches: [], lastState: nil, damage: .none)
        var position = headerBytes
        while position < bytes.count {
            guard bytes.count - position >= recordHeaderBytes,
                let length = UInt32(littleEndianBytes: bytes[position..<position + 4]).map(Int.init),
                let checksum = UInt32(littleEndianBytes: bytes[position + 4..<position + 8])
            else {
                contents.damage = .tornTail
                break
            }
            let start = position + recordHeaderBytes
            guard (4...recordLimit).contains(length), bytes.count - start >= length else {
                contents.damage = length > recordLimit || length < 4 ? .rotten : .tornTail
                break
            }
            let body = bytes[start..<start + length]
            guard checksum == Checksum.crc32c(body),
                let batch = UInt32(littleEndianBytes: body.prefix(4)).map(Int.init), batch <= length - 4
            else {
                // A bad record with another behind it was whole once.
                contents.damage = start + length < bytes.count ? .rotten : .tornTail
                break
            }
            contents.batches.append(body.dropFirst(4).prefix(batch))
            contents.lastState = body.dropFirst(4 + batch)
            contents.segment.count += 1
            position = start + length
            contents.segment.bytes = position
        }
        return contents
    }
}
