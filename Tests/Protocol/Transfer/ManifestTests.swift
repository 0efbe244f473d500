import Foundation
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import SwiftProtobuf
import Testing

@Suite struct ManifestTests {
    let image = ImageID.generate(at: Timestamp(milliseconds: 1))

    @Test func describesSizesAndZeroChunks() throws {
        let size = Int64(Limits.chunkBytes) * 2 + 512
        let digests =
            [UInt8](repeating: 7, count: 32) + [UInt8](repeating: 0, count: 32) + [UInt8](repeating: 9, count: 32)
        let manifest = try Manifest(image: image, sizeBytes: size, chunkDigests: digests)
        #expect(manifest.chunkCount == 3)
        #expect((0..<3).map(manifest.chunkSize) == [Limits.chunkBytes, Limits.chunkBytes, 512])
        #expect((0..<3).map(manifest.isZero) == [false, true, false])
        #expect(manifest.chunkOffset(2) == Int64(Limits.chunkBytes) * 2)
        let again = try Manifest(serialised: manifest.serialised)
        #expect(again == manifest)
        #expect(again.digest == Manifest.digest(of: manifest.serialised))
    }

    /// A host of a chain is one chunk behind the one before it, so chunks of small images are small, and manifests of large
    /// ones stay short.
    @Test(
        arguments: [
            (1, 512 << 10), (256 << 20, 512 << 10), (2 << 30, 512 << 10), ((2 << 30) + 1, 1 << 20), (8 << 30, 2 << 20),
            (16 << 30, 4 << 20), (16 << 40, 4 << 20),
        ] as [(Int64, Int)])
    func choosesTheChunkSize(imageBytes: Int64, chunkBytes: Int) throws {
        #expect(Manifest.chunkBytes(forImageBytes: imageBytes) == chunkBytes)
        let count = Manifest.chunkCount(imageBytes: imageBytes, chunkBytes: chunkBytes)
        let manifest = try Manifest(
            image: image, sizeBytes: imageBytes, chunkBytes: chunkBytes,
            chunkDigests: [UInt8](repeating: 0, count: count * 32))
        #expect(manifest.chunkBytes == chunkBytes)
        #expect(manifest.chunkCount == count)
        #expect(manifest.chunkOffset(count - 1) + Int64(manifest.chunkSize(count - 1)) == imageBytes)
        #expect(manifest.serialised.count <= Manifest.maximumSerialisedBytes(imageBytes: imageBytes))
    }

    @Test func verifiesByDigestAndLength() throws {
        let data = [UInt8](repeating: 3, count: 512)
        let manifest = try Manifest(
            image: image, sizeBytes: 512, chunkDigests: Manifest.digest(of: data).bytes)
        #expect(manifest.verifies(data, index: 0))
        #expect(!manifest.verifies([UInt8](repeating: 4, count: 512), index: 0))
        #expect(!manifest.verifies(Array(data.dropLast()), index: 0))
        #expect(!manifest.verifies(data, index: 1))
        #expect(!manifest.verifies(data, index: -1))
    }

    private func message(_ change: (inout Roost_V1_ImageManifest) -> Void) throws -> [UInt8] {
        var message = Roost_V1_ImageManifest()
        message.version = 1
        message.imageID = image.bytes
        message.sizeBytes = 1024
        message.chunkBytes = UInt32(Limits.chunkBytes)
        message.chunkDigests = Data(repeating: 1, count: 32)
        change(&message)
        return try message.serializedBytes()
    }

    @Test func refusesWhatMakesNoSense() throws {
        #expect(throws: Never.self) { try Manifest(serialised: message { _ in }) }
        #expect(throws: ManifestError.unknownVersion(2)) { try Manifest(serialised: message { $0.version = 2 }) }
        #expect(throws: ManifestError.imageIdentifier) {
            try Manifest(serialised: message { $0.imageID = Data(repeating: 1, count: 15) })
        }
        #expect(throws: ManifestError.size(0)) { try Manifest(serialised: message { $0.sizeBytes = 0 }) }
        #expect(throws: ManifestError.size(.max)) { try Manifest(serialised: message { $0.sizeBytes = .max }) }
        for size in [0, 4096, 3 << 19, 8 << 20] as [UInt32] {
            #expect(throws: ManifestError.chunkSize(size)) {
                try Manifest(serialised: message { $0.chunkBytes = size })
            }
        }
        // More chunks of that size than a manifest may have.
        #expect(throws: ManifestError.chunkSize(512 << 10)) {
            try Manifest(
                serialised: message {
                    $0.sizeBytes = 4097 * 512 << 10
                    $0.chunkBytes = 512 << 10
                    $0.chunkDigests = Data(repeating: 1, count: 4097 * 32)
                })
        }
        #expect(throws: ManifestError.digestCount(expected: 1, foundBytes: 33)) {
            try Manifest(serialised: message { $0.chunkDigests = Data(repeating: 1, count: 33) })
        }
        #expect(throws: ManifestError.unreadable) { try Manifest(serialised: [0xFF, 0xFF, 0xFF]) }
    }

    /// Any cut and any flipped bit either gives a valid manifest or an error, never a trap.
    @Test func survivesDamage() throws {
        let bytes = try message { _ in }
        for length in 0..<bytes.count { _ = try? Manifest(serialised: Array(bytes[..<length])) }
        for position in bytes.indices {
            for bit in 0..<8 {
                var damaged = bytes
                damaged[position] ^= 1 << UInt8(bit)
                if let manifest = try? Manifest(serialised: damaged) {
                    #expect(
                        manifest.chunkCount
                            == Manifest.chunkCount(imageBytes: manifest.sizeBytes, chunkBytes: manifest.chunkBytes))
                }
            }
        }
    }

    @Test func assignmentsSurviveTheirMessage() throws {
        let node = NodeID.generate(at: Timestamp(milliseconds: 5))
        let value = ImageAssignmentValue(
            image: image, manifestDigest: Manifest.digest(of: [1, 2, 3]), sizeBytes: 4096,
            sources: [ChunkSource(node: node, address: "n1:7402"), ChunkSource(node: nil, address: "m:7402")],
            serveTo: [node])
        #expect(ImageAssignmentValue(value.message) == value)
        var broken = value.message
        broken.serveTo = [Data([1])]
        #expect(ImageAssignmentValue(broken) == nil)
        broken = value.message
        broken.sizeBytes = 0
        #expect(ImageAssignmentValue(broken) == nil)
    }
}

@Suite struct ChunkBitmapTests {
    @Test(arguments: [0, 1, 7, 8, 9, 1000]) func behavesLikeASet(count: Int) {
        var random = SystemRandomNumberGenerator()
        var bitmap = ChunkBitmap(count: count)
        var model: Set<Int> = []
        for _ in 0..<500 {
            let index = Int.random(in: -2...(count + 2), using: &random)
            if Bool.random(using: &random) {
                bitmap.insert(index)
                if (0..<count).contains(index) { model.insert(index) }
            } else {
                bitmap.remove(index)
                model.remove(index)
            }
            #expect(bitmap.heldCount == model.count)
            #expect(bitmap.contains(index) == model.contains(index))
            let from = Int.random(in: 0...(count + 1), using: &random)
            let missing = from < count ? (from..<count).first { !model.contains($0) } : nil
            #expect(bitmap.firstMissing(from: from) == missing)
        }
        #expect(ChunkBitmap(count: count, bytes: bitmap.bytes) == bitmap)
        #expect(bitmap.isComplete == (model.count == count))
    }

    @Test func refusesBitsBeyondTheEnd() {
        #expect(ChunkBitmap(count: 3, bytes: [0b1000]) == nil)
        #expect(ChunkBitmap(count: 3, bytes: [0b0111, 0]) == nil)
        #expect(ChunkBitmap(count: 3, bytes: [0b0111])?.isComplete == true)
    }
}
