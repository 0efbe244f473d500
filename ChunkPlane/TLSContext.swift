import COpenSSL
import Foundation

/// The certificate chain, key and authority that one side shows and trusts, in PEM form.
public struct TLSCredentials: Sendable {
    public var certificatePEM: [UInt8]
    public var privateKeyPEM: [UInt8]

    public init(certificatePEM: [UInt8], privateKeyPEM: [UInt8]) {
        self.certificatePEM = certificatePEM
        self.privateKeyPEM = privateKeyPEM
    }

    /// Reads both from files.
    public init(certificatePath: String, privateKeyPath: String) throws(TransferError) {
        self.init(
            certificatePEM: try Self.read(certificatePath), privateKeyPEM: try Self.read(privateKeyPath))
    }

    private static func read(_ path: String) throws(TransferError) -> [UInt8] {
        do {
            return Array(try Data(contentsOf: URL(fileURLWithPath: path)))
        } catch {
            throw .credentials(path: path, reason: error.localizedDescription)
        }
    }
}

/// Owns one `SSL_CTX`: TLS 1.3 alone, ALPN `roost-chunks/1`, no resumption, certificates asked for on both sides.
public final class TLSContext: Sendable {
    public enum Side: Sendable { case server, client }

    /// `SSL_OP_IGNORE_UNEXPECTED_EOF`, a macro that Swift does not see.
    private static let ignoreUnexpectedEnd: UInt64 = 1 << 7
    private static let readBufferBytes = 128 << 10
    static let protocolName = Array("roost-chunks/1".utf8)

    // SAFETY: the compiler takes no C pointer for Sendable. OpenSSL lets threads share an SSL_CTX and make connections of it at
    // once, as long as nobody changes it (SSL_CTX_new(3), openssl-threads(7)); nobody does after init.
    nonisolated(unsafe) let raw: OpaquePointer

    public init(side: Side, credentials: TLSCredentials) throws(TransferError) {
        guard let raw = SSL_CTX_new(side == .server ? TLS_server_method() : TLS_client_method()) else {
            throw .tls(OpenSSLErrors.last())
        }
        self.raw = raw
        _ = SSL_CTX_ctrl(raw, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(TLS1_3_VERSION), nil)
        // AES in 128 bits first: as safe here, and the fastest with a processor's own instructions.
        let suites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
        guard SSL_CTX_set_ciphersuites(raw, suites) == 1 else { throw .tls(OpenSSLErrors.last()) }
        if side == .client {
            // Several records a system call; without it OpenSSL makes two calls for each record of 16 KiB.
            SSL_CTX_set_default_read_buffer_len(raw, Self.readBufferBytes)
            _ = SSL_CTX_ctrl(raw, SSL_CTRL_SET_READ_AHEAD, 1, nil)
        }
        // A resumed session would not show its certificate again, and a revoked node must be found out at each
        // connection.
        _ = SSL_CTX_ctrl(raw, SSL_CTRL_SET_SESS_CACHE_MODE, 0, nil)
        _ = SSL_CTX_set_num_tickets(raw, 0)
        // A peer that ends without a TLS goodbye is an end like any other here: frames and data have lengths of their
        // own, so that nothing can be cut off unnoticed.
        _ = SSL_CTX_set_options(raw, Self.ignoreUnexpectedEnd)
        // OpenSSL only proves that the peer has the key of the certificate it shows; whom the certificate names and who
        // signed it is judged by the site's verifier right after the handshake, so that each reason has its own code.
        SSL_CTX_set_verify(raw, SSL_VERIFY_PEER) { _, _ in 1 }
        try Self.use(credentials, in: raw)
        Self.offerProtocol(raw, side: side)
    }

    deinit { SSL_CTX_free(raw) }

    private static func use(_ credentials: TLSCredentials, in raw: OpaquePointer) throws(TransferError) {
        guard let certificates = BIO_new_mem_buf(credentials.certificatePEM, Int32(credentials.certificatePEM.count))
        else { throw .tls(OpenSSLErrors.last()) }
        defer { BIO_free(certificates) }
        guard let leaf = PEM_read_bio_X509(certificates, nil, nil, nil) else {
            throw .credentials(path: "the certificate", reason: "no certificate in PEM form was found")
        }
        defer { X509_free(leaf) }
        guard SSL_CTX_use_certificate(raw, leaf) == 1 else {
            throw .credentials(path: "the certificate", reason: OpenSSLErrors.last())
        }
        guard let keys = BIO_new_mem_buf(credentials.privateKeyPEM, Int32(credentials.privateKeyPEM.count)) else {
            throw .tls(OpenSSLErrors.last())
        }
        defer { BIO_free(keys) }
        guard let key = PEM_read_bio_PrivateKey(keys, nil, nil, nil) else {
            throw .credentials(path: "the private key", reason: "no private key in PEM form was found")
        }
        defer { EVP_PKEY_free(key) }
        guard SSL_CTX_use_PrivateKey(raw, key) == 1, SSL_CTX_check_private_key(raw) == 1 else {
            throw .credentials(path: "the private key", reason: "it does not belong to the certificate")
        }
        ERR_clear_error()
    }

    private static func offerProtocol(_ raw: OpaquePointer, side: Side) {
        switch side {
        case .client:
            let offer = [UInt8(protocolName.count)] + protocolName
            _ = SSL_CTX_set_alpn_protos(raw, offer, UInt32(offer.count))
        case .server:
            SSL_CTX_set_alpn_select_cb(
                raw,
                { _, chosen, chosenLength, offered, offeredLength, _ in
                    guard let offered, let chosen, let chosenLength else { return SSL_TLSEXT_ERR_NOACK }
                    var position = 0
                    while position < Int(offeredLength) {
                        let length = Int(offered[position])
                        guard position + 1 + length <= Int(offeredLength) else { break }
                        let name = UnsafeBufferPointer(start: offered + position + 1, count: length)
                        if name.elementsEqual(TLSContext.protocolName) {
                            chosen.pointee = UnsafePointer(offered + position + 1)
                            chosenLength.pointee = UInt8(length)
                            return SSL_TLSEXT_ERR_OK
                        }
                        position += 1 + length
                    }
                    return SSL_TLSEXT_ERR_NOACK
                }, nil)
        }
    }
}

/// The thread's queue of OpenSSL errors as one line.
enum OpenSSLErrors {
    static func last() -> String {
        let code = ERR_get_error()
        ERR_clear_error()
        guard code != 0 else { return "no further reason is known" }
        var text = [CChar](repeating: 0, count: 256)
        ERR_error_string_n(code, &text, text.count)
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
