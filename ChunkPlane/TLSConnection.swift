import COpenSSL
import Foundation
import Glibc

/// Owns one `SSL` on a socket. Belongs to one thread; others have its `socket` alone, and may interrupt that.
final class TLSConnection {
    /// Keeps what moves over the connection within the limits of the process.
    struct Pace {
        var governor: TransferGovernor
        var purpose: TransferPurpose
    }

    let socket: OpenSocket
    private let ssl: OpaquePointer
    private var pace: Pace?

    private var descriptor: Int32 { socket.descriptor }

    /// Takes the descriptor over, also where it throws.
    init(descriptor: Int32, context: TLSContext) throws(TransferError) {
        socket = OpenSocket(descriptor: descriptor)
        guard let ssl = SSL_new(context.raw) else { throw .tls(OpenSSLErrors.last()) }
        self.ssl = ssl
        guard SSL_set_fd(ssl, descriptor) == 1 else { throw .tls(OpenSSLErrors.last()) }
    }

    /// Whoever still holds the socket must find it closed.
    deinit {
        socket.closeNow()
        SSL_free(ssl)
    }

    func shutdownNow() { socket.closeNow() }

    /// Tells the peer in TLS that no more comes, so that a refusal that was just sent is not lost with the socket.
    func finish() {
        guard !socket.isClosed else { return }
        ERR_clear_error()
        SSL_shutdown(ssl)
        shutdown(descriptor, Int32(SHUT_WR))
    }

    func handshake(as side: TLSContext.Side, deadline: ContinuousClock.Instant) throws(TransferError) {
        _ = try repeating("TLS handshake", deadline: deadline) {
            side == .server ? SSL_accept(ssl) : SSL_connect(ssl)
        }
    }

    /// Whether both sides agreed on `roost-chunks/1`.
    var agreedOnProtocol: Bool {
        var name: UnsafePointer<UInt8>?
        var length: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &name, &length)
        guard let name else { return false }
        return UnsafeBufferPointer(start: name, count: Int(length)).elementsEqual(TLSContext.protocolName)
    }

    /// The peer's certificate, DER; `nil` where it showed none.
    var peerCertificate: [UInt8]? {
        guard let certificate = SSL_get1_peer_certificate(ssl) else { return nil }
        defer { X509_free(certificate) }
        let length = i2d_X509(certificate, nil)
        guard length > 0 else { return nil }
        return [UInt8](unsafeUninitializedCapacity: Int(length)) { buffer, count in
            var position = buffer.baseAddress
            count = Int(max(0, i2d_X509(certificate, &position)))
        }
    }

    /// From now on what moves is counted, and waits where it is too much.
    func keep(_ pace: Pace?) { self.pace = pace }

    private var isInterrupted: Bool { socket.isInterrupted || socket.isClosed }

    /// Reads at least one byte.
    func read(
        into buffer: UnsafeMutableRawBufferPointer, deadline: ContinuousClock.Instant, doing: String
    ) throws(TransferError) -> Int {
        let count = Int(
            try repeating(doing, deadline: deadline) {
                SSL_read(ssl, buffer.baseAddress, Int32(clamping: buffer.count))
            })
        // Whoever sends is held up by TCP while this waits.
        if let pace, pace.governor.isLimited(.receive) {
            pace.governor.pass(count, .receive, for: pace.purpose) { isInterrupted }
        }
        return count
    }

    /// Gathers what is written into pieces of `bytes`: a record of 16 KiB alone would cost a system call and a packet each.
    /// From here on, `flush` ends what belongs together.
    func gather(_ bytes: Int) {
        guard let gathering = BIO_new(BIO_f_buffer()), let socket = BIO_new_socket(descriptor, BIO_NOCLOSE) else {
            return
        }
        // The size of the write buffer, as BIO_set_write_buffer_size sets it.
        BIO_int_ctrl(gathering, BIO_C_SET_BUFF_SIZE, bytes, 1)
        SSL_set0_wbio(ssl, BIO_push(gathering, socket))
    }

    func flush(deadline: ContinuousClock.Instant, doing: String) throws(TransferError) {
        while BIO_ctrl(SSL_get_wbio(ssl), BIO_CTRL_FLUSH, 0, nil) <= 0 {
            try socket.check()
            guard BIO_test_flags(SSL_get_wbio(ssl), BIO_FLAGS_SHOULD_RETRY) != 0 else { throw .closed }
            guard Socket.wait(descriptor, for: POLLOUT, until: deadline) else { throw .timedOut(doing: doing) }
        }
    }

    /// Whether so many bytes have come that nobody has read.
    func hasPending(_ count: Int) -> Bool {
        var waiting: Int32 = 0
        return ioctl(descriptor, UInt(FIONREAD), &waiting) == 0 && Int(waiting) >= count
    }

    /// Writes all bytes.
    func write(
        _ bytes: UnsafeRawBufferPointer, deadline: ContinuousClock.Instant, doing: String
    ) throws(TransferError) {
        var position = 0
        // What the limit makes it wait is not the peer's fault.
        var deadline = deadline
        while position < bytes.count {
            var rest = UnsafeRawBufferPointer(rebasing: bytes[position...])
            if let pace, pace.governor.isLimited(.send) {
                rest = UnsafeRawBufferPointer(rebasing: rest.prefix(BandwidthSchedule.sliceBytes))
                let asked = ContinuousClock.now
                pace.governor.pass(rest.count, .send, for: pace.purpose) { isInterrupted }
                deadline += .now - asked
            }
            position += Int(
                try repeating(doing, deadline: deadline) {
                    SSL_write(ssl, rest.baseAddress, Int32(clamping: rest.count))
                })
        }
    }

    func write(_ bytes: [UInt8], deadline: ContinuousClock.Instant, doing: String) throws(TransferError) {
        do {
            try bytes.withUnsafeBytes { buffer in
                try self.write(buffer, deadline: deadline, doing: doing)
            }
        } catch let error as TransferError {
            throw error
        } catch {
            throw .closed
        }
    }

    private func repeating(
        _ doing: String, deadline: ContinuousClock.Instant, _ operation: () -> Int32
    ) throws(TransferError) -> Int32 {
        while true {
            try socket.check()
            ERR_clear_error()
            errno = 0
            let answer = operation()
            if answer > 0 { return answer }
            switch SSL_get_error(ssl, answer) {
            case SSL_ERROR_WANT_READ:
                guard Socket.wait(descriptor, for: POLLIN, until: deadline) else { throw .timedOut(doing: doing) }
            case SSL_ERROR_WANT_WRITE:
                guard Socket.wait(descriptor, for: POLLOUT, until: deadline) else { throw .timedOut(doing: doing) }
            case SSL_ERROR_ZERO_RETURN: throw .closed
            case SSL_ERROR_SYSCALL:
                if socket.isInterrupted { throw .interrupted }
                throw .closed
            default:
                if socket.isInterrupted { throw .interrupted }
                throw .tls(OpenSSLErrors.last())
            }
        }
    }
}
