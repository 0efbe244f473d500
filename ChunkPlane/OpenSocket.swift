import Glibc
import Synchronization

/// Owns one socket. Whoever reads and writes belongs to one thread; any thread may interrupt it.
final class OpenSocket: Sendable {
    private struct Life {
        var isClosed = false
        var isInterrupted = false
    }

    let descriptor: Int32
    private let life = Mutex(Life())

    init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { closeNow() }

    /// Wakes whoever waits on the socket, for good. Under the lock that guards closing, so that it never hits a descriptor
    /// that was given out again.
    func interrupt() {
        life.withLock { life in
            life.isInterrupted = true
            if !life.isClosed { shutdown(descriptor, Int32(SHUT_RDWR)) }
        }
    }

    /// Closes at once; further calls fail.
    func closeNow() {
        life.withLock { life in
            guard !life.isClosed else { return }
            life.isClosed = true
            close(descriptor)
        }
    }

    var isInterrupted: Bool { life.withLock { $0.isInterrupted } }
    var isClosed: Bool { life.withLock { $0.isClosed } }

    /// - Throws: `interrupted` or `closed`, where it is.
    func check() throws(TransferError) {
        let life = life.withLock { $0 }
        if life.isInterrupted { throw .interrupted }
        if life.isClosed { throw .closed }
    }
}
