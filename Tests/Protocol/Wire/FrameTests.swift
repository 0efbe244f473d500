import ProtocolMessages
import ProtocolModel
import ProtocolWire
import Testing
import TestsSupportRandomness

@Suite("frames")
struct FrameTests {
    static let samples: [Frame] = [
        Frame(type: .heartbeat, payload: [8, 7]),
        Frame(type: .streamData, stream: 513, payload: Array("console".utf8)),
        Frame(type: .goodbye),
        Frame(type: .assignmentSet, payload: [UInt8](repeating: 7, count: 300)),
    ]

    @Test("any cut of the bytes gives the same frames")
    func everyCut() throws {
        let bytes = Self.samples.flatMap(FrameEncoder.encode)
        for cut in 0...bytes.count {
            var decoder = FrameDecoder()
            var frames: [Frame] = []
            for part in [bytes[..<cut], bytes[cut...]] {
                decoder.append(Array(part))
                while let frame = try decoder.next() { frames.append(frame) }
            }
            #expect(frames == Self.samples)
            #expect(decoder.bufferedBytes == 0)
        }
    }

    @Test("bytes that come one at a time give the same frames")
    func byteByByte() throws {
        var decoder = FrameDecoder()
        var frames: [Frame] = []
        for byte in Self.samples.flatMap(FrameEncoder.encode) {
            decoder.append([byte])
            while let frame = try decoder.next() { frames.append(frame) }
        }
        #expect(frames == Self.samples)
    }

    @Test("the golden header is read and written")
    func golden() throws {
        let frame = Frame(type: .streamData, stream: 0x0102, payload: [0xAA, 0xBB])
        #expect(FrameEncoder.encode(frame).hexadecimal == "00000002" + "63" + "00" + "0102" + "aabb")
        #expect(Frame.headerBytes == 8)
    }

    @Test("a length above the limit is refused from its header alone")
    func tooLarge() throws {
        var decoder = FrameDecoder(maximumPayloadBytes: 100)
        decoder.append([0, 0, 0, 101, 4, 0, 0])
        #expect(try decoder.next() == nil)
        decoder.append([0])
        #expect(throws: SessionRefusal.frameTooLarge) { try decoder.next() }
        #expect(decoder.bufferedBytes == 0)
        decoder.append(FrameEncoder.encode(Self.samples[0]))
        #expect(throws: SessionRefusal.frameTooLarge) { try decoder.next() }
        #expect(decoder.bufferedBytes == 0)
    }

    @Test("the limit can be raised between frames")
    func raised() throws {
        var decoder = FrameDecoder(maximumPayloadBytes: 4)
        decoder.append(Array(FrameEncoder.encode(Self.samples[3]).prefix(4)))
        decoder.maximumPayloadBytes = 1000
        decoder.append(Array(FrameEncoder.encode(Self.samples[3]).dropFirst(4)))
        #expect(try decoder.next() == Self.samples[3])
    }

    @Test(
        "a header that makes no sense is refused",
        arguments: [
            [0, 0, 0, 0, 0xFF, 0, 0, 0],  // unknown type
            [0, 0, 0, 0, 4, 1, 0, 0],  // zstd that nobody negotiated
            [0, 0, 0, 0, 4, 0x80, 0, 0],  // unknown flag
            [0, 0, 0, 0, 4, 0, 0, 1],  // a stream number where none belongs
            [0, 0, 0, 0, 0x63, 0, 0, 0],  // a stream frame without a stream
            Array("GET / HTTP/1.1".utf8),
        ] as [[UInt8]])
    func nonsense(_ bytes: [UInt8]) {
        var decoder = FrameDecoder()
        decoder.append(bytes)
        #expect(throws: SessionRefusal.malformedFrame) { try decoder.next() }
    }

    @Test("a negotiated flag is accepted")
    func negotiatedFlag() throws {
        var decoder = FrameDecoder(acceptedFlags: .zstd)
        decoder.append([0, 0, 0, 0, 4, 1, 0, 0])
        #expect(try decoder.next()?.flags == .zstd)
    }

    @Test("what follows a frame can be taken over")
    func remainder() throws {
        var decoder = FrameDecoder()
        decoder.append(FrameEncoder.encode(Frame(type: .chunkAnswer, payload: [1])) + [9, 8, 7])
        #expect(try decoder.next()?.type == .chunkAnswer)
        #expect(decoder.takeRemainder() == [9, 8, 7])
        #expect(decoder.bufferedBytes == 0)
    }

    @Test("random bytes never trap and never stay beyond the limit", arguments: 0..<200 as Range<UInt64>)
    func randomBytes(seed: UInt64) {
        var random = SeededNumbers(state: seed)
        var decoder = FrameDecoder(maximumPayloadBytes: 64)
        for _ in 0..<50 {
            var bytes = random.bytes(Int.random(in: 0...40, using: &random))
            // Half of the time a plausible header, so that decoding goes on.
            if Bool.random(using: &random) {
                bytes = [0, 0, 0, UInt8.random(in: 0...70, using: &random), 4, 0, 0, 0] + bytes
            }
            decoder.append(bytes)
            while let frame = try? decoder.next() { _ = try? Message(frame: frame) }
            #expect(decoder.bufferedBytes < 64 + Frame.headerBytes)
        }
    }
}
