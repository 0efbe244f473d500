public import Hummingbird
import Logging
import NIOCore

/// What the server knows of a connection when a request comes.
public struct RequestScope: InitializableFromSource, Sendable {
    let channel: any Channel
    let logger: Logger

    public init(source: ApplicationRequestContextSource) {
        channel = source.channel
        logger = source.logger
    }

    /// The address of the sender, without its port.
    var address: String { channel.remoteAddress?.ipAddress ?? "local" }
}
