import Foundation
import ManagerImageHeaders
import ProtocolModel
import Testing

@Suite struct ImageInspectorTests {
    private func inspect(_ file: ImageFile, declared: ImageFormat? = nil) throws(ImageRefusal) -> InspectedImage {
        let bytes = file.bytes
        let reader = { (offset: Int64, count: Int) in
            #expect(offset >= 0 && Int(offset) + count <= bytes.count, "read outside of the file")
            return Array(bytes[Int(offset)..<Int(offset) + count])
        }
        let inspected = try ImageInspector.inspect(reader: reader, declared: declared, fileBytes: Int64(bytes.count))
        try ImageExtents.check(reader: reader, inspected, fileBytes: Int64(bytes.count))
        return inspected
    }

    /// SEC-01: what could read other files, or lies about itself, is refused with its own code.
    @Test("SEC-01 hostile images", arguments: HostileImage.corpus)
    func refusesHostileImage(_ hostile: HostileImage) {
        do {
            let accepted = try inspect(hostile.file, declared: hostile.declared)
            Issue.record("accepted as \(accepted)")
        } catch {
            #expect(error.code == hostile.code, "\(error.sentence)")
            #expect(error.sentence.count > 20)
        }
    }

    @Test func corpusIsLargeAndNamesEachFileOnce() {
        #expect(HostileImage.corpus.count >= 100)
        #expect(Set(HostileImage.corpus.map(\.name)).count == HostileImage.corpus.count)
    }

    @Test func acceptsWellFormedImages() throws {
        #expect(try inspect(.qcow2()) == inspect(.qcow2(), declared: .qcow2))
        #expect(try inspect(.qcow2()).virtualSize == 1 << 20)
        #expect(try inspect(.qcow2(version: 2)).format == .qcow2)
        #expect(try inspect(.vmdk()).virtualSize == 1 << 20)
        #expect(try inspect(.vhd()).virtualSize == 4 << 20)
        #expect(try inspect(.vhd(type: 2, size: 4 << 20)).format == .vhd)
        #expect(try inspect(.vdi()).virtualSize == 4 << 20)
        #expect(try inspect(.iso()).format == .iso)
        #expect(try inspect(.bootable()).format == .raw)
        #expect(try inspect(ImageFile(count: 1000), declared: .raw).virtualSize == 1024)
    }

    /// Whatever a file holds, the inspector answers; the reader above fails the test where it reads outside of the
    /// file.
    @Test func survivesDamage() throws {
        var random = SystemRandomNumberGenerator()
        for file in [ImageFile.qcow2(), .vmdk(), .vhd(), .vhd(type: 2, size: 1 << 16), .vdi()] {
            for length in stride(from: 0, to: 1600, by: 7) {
                _ = try? inspect(file.truncated(to: min(length, file.bytes.count)))
            }
            for _ in 0..<300 {
                var damaged = file
                for _ in 0..<Int.random(in: 1...8, using: &random) {
                    damaged.bytes[Int.random(in: 0..<1536, using: &random)] = UInt8.random(in: 0...255, using: &random)
                }
                if let accepted = try? inspect(damaged) {
                    #expect(accepted.virtualSize > 0 && accepted.virtualSize <= Limits.imageBytes)
                }
            }
        }
    }

    @Test func readsLittle() throws {
        var total = 0
        let file = ImageFile.vmdk { $0.little64(60, at: 36) }
        _ = try? ImageInspector.inspect(
            reader: { offset, count in
                total += count
                return Array(file.bytes[Int(offset)..<Int(offset) + count])
            }, declared: nil, fileBytes: Int64(file.bytes.count))
        #expect(total > 0 && total <= 2 << 20)
    }
}
