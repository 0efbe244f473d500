import Foundation
public import ProtocolTransfer
import Synchronization

/// Keeps all transfers of a process within its limits: what is sent, what is received, what is written to the disk.
///
/// Blocks the thread that moves too much, so it is for the dedicated threads of chunk connections alone.
public final class TransferGovernor: Sendable {
    public enum Direction: Sendable, CaseIterable {
        case send, receive, disk
    }

    /// Whoever waits looks this often whether it was stopped or the limit has changed.
    private static let longestSleep = Duration.milliseconds(50)

    private struct State {
        var limits = TransferLimitsValue()
        var send = BandwidthSchedule()
        var receive = BandwidthSchedule()
        var disk = BandwidthSchedule()

        subscript(_ direction: Direction) -> BandwidthSchedule {
            get {
                switch direction {
                case .send: send
                case .receive: receive
                case .disk: disk
                }
            }
            set {
                switch direction {
                case .send: send = newValue
                case .receive: receive = newValue
                case .disk: disk = newValue
                }
            }
        }
    }

    private let state = Mutex(State())

    public init(_ limits: TransferLimitsValue = TransferLimitsValue()) { limit(limits) }

    /// The limits in force.
    public var limits: TransferLimitsValue { state.withLock { $0.limits } }

    /// New limits hold at once, also for what is under way.
    public func limit(_ limits: TransferLimitsValue) {
        let (share, now) = (Double(limits.prefillSharePercent) / 100, ContinuousClock.now)
        state.withLock { state in
            state.limits = limits
            state.send.limit(bytesPerSecond: limits.sendBytesPerSecond, prefillShare: share, at: now)
            state.receive.limit(bytesPerSecond: limits.receiveBytesPerSecond, prefillShare: share, at: now)
            state.disk.limit(bytesPerSecond: limits.diskBytesPerSecond, prefillShare: share, at: now)
        }
    }

    /// Whether bytes are to be moved in slices, each after `pass`.
    public func isLimited(_ direction: Direction) -> Bool { state.withLock { $0[direction].isLimited } }

    /// Returns when so many bytes may move; at once where there is no limit.
    ///
    /// - Parameter isStopped: asked while it waits; it returns early then.
    public func pass(
        _ bytes: Int, _ direction: Direction, for purpose: TransferPurpose, isStopped: () -> Bool = { false }
    ) {
        while !isStopped() {
            guard let wait = state.withLock({ $0[direction].ask(for: bytes, purpose, at: .now) }) else { return }
            Thread.sleep(forTimeInterval: min(wait, Self.longestSleep) / .seconds(1))
        }
    }

    /// The same for more than a slice, such as a chunk that is written in one piece.
    public func passAll(
        _ bytes: Int, _ direction: Direction, for purpose: TransferPurpose, isStopped: () -> Bool = { false }
    ) {
        guard isLimited(direction) else { return }
        var left = bytes
        while left > 0, !isStopped() {
            let slice = min(left, BandwidthSchedule.sliceBytes)
            pass(slice, direction, for: purpose, isStopped: isStopped)
            left -= slice
        }
    }
}
