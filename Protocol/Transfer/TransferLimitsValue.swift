public import ProtocolMessages
import SwiftProtobuf

/// How much a host may move for images, all its transfers together.
public struct TransferLimitsValue: Hashable, Sendable {
    /// What prefills keep of each limit while launches want all of it, where nobody has said.
    public static let usualPrefillSharePercent = 10

    /// `nil`: no limit.
    public var sendBytesPerSecond: Int64?
    public var receiveBytesPerSecond: Int64?
    /// Written to the cache, decoded.
    public var diskBytesPerSecond: Int64?
    /// Images received at a time; `nil`: what the host is set to.
    public var concurrentImages: Int?
    /// From 1 to 100.
    public var prefillSharePercent: Int

    public init(
        sendBytesPerSecond: Int64? = nil, receiveBytesPerSecond: Int64? = nil, diskBytesPerSecond: Int64? = nil,
        concurrentImages: Int? = nil, prefillSharePercent: Int = Self.usualPrefillSharePercent
    ) {
        self.sendBytesPerSecond = sendBytesPerSecond
        self.receiveBytesPerSecond = receiveBytesPerSecond
        self.diskBytesPerSecond = diskBytesPerSecond
        self.concurrentImages = concurrentImages
        self.prefillSharePercent = prefillSharePercent
    }

    /// Reads a message, in which 0 stands for no limit.
    public init(_ message: Roost_V1_TransferLimits) {
        func rate(_ value: UInt64) -> Int64? { value == 0 ? nil : Int64(clamping: value) }
        let share = Int(clamping: message.prefillSharePercent)
        self.init(
            sendBytesPerSecond: rate(message.sendBytesPerSecond),
            receiveBytesPerSecond: rate(message.receiveBytesPerSecond),
            diskBytesPerSecond: rate(message.diskBytesPerSecond),
            concurrentImages: message.concurrentImages == 0 ? nil : Int(min(message.concurrentImages, 1024)),
            prefillSharePercent: share == 0 ? Self.usualPrefillSharePercent : min(100, share))
    }

    public var message: Roost_V1_TransferLimits {
        .with {
            $0.sendBytesPerSecond = UInt64(clamping: sendBytesPerSecond ?? 0)
            $0.receiveBytesPerSecond = UInt64(clamping: receiveBytesPerSecond ?? 0)
            $0.diskBytesPerSecond = UInt64(clamping: diskBytesPerSecond ?? 0)
            $0.concurrentImages = UInt32(clamping: concurrentImages ?? 0)
            $0.prefillSharePercent = UInt32(clamping: prefillSharePercent)
        }
    }
}
