import NIOCore
public import ProtocolModel
public import ProtocolWire

/// Sends messages in one session.
///
/// Back-pressure: `send` waits while the manager does not read, and it throws once the session is over. Nothing is dropped
/// in silence and nothing is queued beyond the socket's own bounded buffer: what was not sent, and what was sent without
/// an acknowledgement, is covered by the full reports at the start of the next session.
public struct UplinkSender: Sendable {
    let session: SessionState
    let writer: NIOAsyncChannelOutboundWriter<ByteBuffer>

    /// Sends a message behind those before it. Throws `unexpectedMessage` for one that is not an agent's to send,
    /// `frameTooLarge` for one that must be split, and the session's end as its code, or `heartbeatLost` where the
    /// connection was lost.
    public func send(_ message: Message) async throws(SessionRefusal) {
        try session.admit(message)
        let bytes = try message.encoded()
        do {
            try await writer.write(ByteBuffer(bytes: bytes))
        } catch {
            throw session.end?.refusal ?? .heartbeatLost
        }
    }
}
