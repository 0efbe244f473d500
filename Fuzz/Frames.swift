import ProtocolModel
import ProtocolWire

/// The first byte says how the rest is cut; however that is, the frames are the same, memory stays within the limit, and
/// what decodes encodes again to what decodes to the same.
@Sendable
func fuzzFrames(_ input: UnsafeRawBufferPointer) {
    guard let first = input.first else { return }
    let bytes = Array(input.dropFirst())
    let limit = 48
    let whole = frames(bytes, step: max(bytes.count, 1), limit: limit)
    precondition(whole == frames(bytes, step: Int(first % 17) + 1, limit: limit), "the cut changed the frames")
    for frame in whole.frames {
        precondition(frame.payload.count <= limit, "a frame above the limit")
        precondition(FrameEncoder.encode(frame).count == Frame.headerBytes + frame.payload.count, "a wrong length")
        guard let message = try? Message(frame: frame) else { continue }
        guard let again = try? message.frame() else { preconditionFailure("what was decoded does not encode") }
        precondition((try? Message(frame: again)) != nil, "what was encoded does not decode")
        precondition(again.type == frame.type && again.stream == frame.stream, "another type")
    }
}

private struct Outcome: Equatable {
    var frames: [Frame] = []
    var refusal: SessionRefusal?
}

private func frames(_ bytes: [UInt8], step: Int, limit: Int) -> Outcome {
    var decoder = FrameDecoder(maximumPayloadBytes: limit)
    var outcome = Outcome()
    var position = 0
    while position < bytes.count, outcome.refusal == nil {
        let end = min(position + step, bytes.count)
        decoder.append(Array(bytes[position..<end]))
        position = end
        do throws(SessionRefusal) {
            while let frame = try decoder.next() { outcome.frames.append(frame) }
        } catch {
            outcome.refusal = error
        }
        precondition(decoder.bufferedBytes < limit + Frame.headerBytes, "more was kept than one frame")
    }
    return outcome
}
