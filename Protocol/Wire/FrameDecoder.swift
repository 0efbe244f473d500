public import ProtocolModel

/// Cuts a stream of bytes into frames. Knows no socket.
///
/// The caller appends what it read and calls `next()` until it answers `nil`; then at most one unfinished frame stays
/// here, so that memory is bounded by `maximumPayloadBytes` and by what one read brings. A header is judged as soon as
/// its eight bytes are there, before any of its payload is waited for; nothing is ever reserved on the word of a peer.
/// After a refusal the decoder stays refused: where the next frame would begin is not known any more.
public struct FrameDecoder: Sendable {
    /// The largest payload accepted. Small for a peer that is not known yet, raised after the handshake.
    public var maximumPayloadBytes: Int
    /// Flags that both sides agreed on.
    public var acceptedFlags: FrameFlags
    private var buffer: [UInt8] = []
    private var position = 0
    private var refusal: SessionRefusal?

    public init(maximumPayloadBytes: Int = Limits.framePayloadBytes, acceptedFlags: FrameFlags = []) {
        self.maximumPayloadBytes = maximumPayloadBytes
        self.acceptedFlags = acceptedFlags
    }

    /// Bytes held that no frame was made of yet.
    public var bufferedBytes: Int { buffer.count - position }

    public mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard refusal == nil else { return }
        compact()
        buffer.append(contentsOf: bytes)
    }

    public mutating func append(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { append($0) }
    }

    /// The next whole frame, or `nil` until more bytes come.
    ///
    /// Throws `frameTooLarge` for a length above the limit and `malformedFrame` for a header that makes no sense: a type
    /// that this version does not know, a flag that was not negotiated, a stream number where none belongs.
    public mutating func next() throws(SessionRefusal) -> Frame? {
        if let refusal { throw refusal }
        guard bufferedBytes >= Frame.headerBytes else {
            compact()
            return nil
        }
        let length = number(at: 0, bytes: 4)
        let type = FrameType(rawValue: buffer[position + 4])
        let flags = FrameFlags(rawValue: buffer[position + 5])
        let stream = UInt16(truncatingIfNeeded: number(at: 6, bytes: 2))
        guard type.isKnown, flags.isSubset(of: acceptedFlags), type.isStream == (stream != 0) else {
            throw refuse(.malformedFrame)
        }
        guard length <= maximumPayloadBytes else { throw refuse(.frameTooLarge) }
        guard bufferedBytes >= Frame.headerBytes + length else { return nil }
        let start = position + Frame.headerBytes
        let payload = Array(buffer[start..<start + length])
        position = start + length
        return Frame(type: type, flags: flags, stream: stream, payload: payload)
    }

    /// Hands over the bytes that no frame was made of and forgets them: what follows a `ChunkAnswer` is no frame.
    public mutating func takeRemainder() -> [UInt8] {
        let rest = Array(buffer[position...])
        buffer = []
        position = 0
        return rest
    }

    private func number(at offset: Int, bytes count: Int) -> Int {
        var value = 0
        for byte in buffer[(position + offset)..<(position + offset + count)] { value = value << 8 | Int(byte) }
        return value
    }

    private mutating func refuse(_ reason: SessionRefusal) -> SessionRefusal {
        refusal = reason
        buffer = []
        position = 0
        return reason
    }

    /// Gives consumed bytes back; an idle session holds no buffer at all.
    private mutating func compact() {
        guard position > 0 else { return }
        if position == buffer.count {
            buffer = []
        } else {
            buffer.removeFirst(position)
        }
        position = 0
    }
}
