import CLibvirt
import Foundation
import ProcessThreads
import ProtocolModel
import Synchronization

/// Connections to libvirt, made when needed and made again when they broke. Calls run on threads of their own, since any of them
/// may block, and each call has a connection to itself: libvirt's client lets a thread that waits for an answer read those of others, too,
/// and where the connection ends meanwhile (a libvirtd that hung and goes on) it writes into the stack of a thread that has gone
/// (CVE-2024-4418, in every libvirt before 10.4).
final class LibvirtConnection: Sendable {
    private static let callsAtOnce = 4

    private let uri: String
    private let threads = BlockingThreads(name: "roost-libvirt", threads: callsAtOnce, limit: 1024)
    /// Tells of domains and of its own end; nothing else is asked on it.
    private let listener = Mutex<LibvirtLink?>(nil)
    /// Those on which no call runs; with those that are in use as many as there are threads.
    private let idle = Mutex<[LibvirtLink]>([])
    private let events: EventChannel

    /// - Parameter events: is told of each new connection, of its end, and of domains meanwhile.
    init(uri: String, events: EventChannel) {
        self.uri = uri
        self.events = events
        LibvirtEventLoop.start()
    }

    deinit { threads.close() }

    /// Runs `body` with a live connection.
    func call<Answer: Sendable>(
        _ body: @escaping @Sendable (OpaquePointer) throws -> Answer
    ) async throws(HypervisorError) -> Answer {
        do {
            return try await threads.run {
                // Errors are kept per thread by libvirt: what is left of an earlier call must not be taken for this one's.
                virResetLastError()
                try self.listen()
                let link = try self.take()
                defer { self.putBack(link) }
                do {
                    return try body(link.pointer)
                } catch HypervisorError.refused(_, let message) where !link.isAlive {
                    throw HypervisorError.unreachable(message)
                }
            }
        } catch let error as HypervisorError {
            throw error
        } catch {
            throw .overloaded
        }
    }

    /// Whatever a call sees, what happens after it is heard.
    private func listen() throws {
        try listener.withLock { listener in
            if let listener, listener.isAlive { return }
            listener = nil
            listener = try LibvirtLink(uri: uri, events: events)
            events.send(.connectionRestored)
        }
    }

    private func take() throws -> LibvirtLink {
        while let link = idle.withLock({ $0.popLast() }) {
            if link.isAlive { return link }
        }
        return try LibvirtLink(uri: uri, events: nil)
    }

    private func putBack(_ link: LibvirtLink) {
        if link.isAlive { idle.withLock { $0.append(link) } }
    }

    static var lastMessage: String {
        virGetLastError().flatMap { $0.pointee.message }.map { String(cString: $0) } ?? "no reason given"
    }

    static var lastError: HypervisorError {
        guard let error = virGetLastError() else { return .refused(code: 0, message: "no reason given") }
        let code = Int(error.pointee.code)
        let message = lastMessage
        switch UInt32(bitPattern: error.pointee.code) {
        case VIR_ERR_RPC.rawValue, VIR_ERR_NO_CONNECT.rawValue: return .unreachable(message)
        case VIR_ERR_SYSTEM_ERROR.rawValue where error.pointee.domain == Int32(VIR_FROM_RPC.rawValue):
            return .unreachable(message)
        default: return .refused(code: code, message: message)
        }
    }

    static func isLastError(_ code: virErrorNumber) -> Bool {
        virGetLastError().map { UInt32(bitPattern: $0.pointee.code) == code.rawValue } ?? false
    }
}

/// libvirt's event loop, one for the process, on a thread of its own.
enum LibvirtEventLoop {
    private static let started: Void = {
        // libvirt prints every error to stderr by default; ours are logged where they are handled.
        virSetErrorFunc(nil) { _, _ in }
        virEventRegisterDefaultImpl()
        // The loop sleeps until something happens; a timer sees to it that it never sleeps for ever.
        virEventAddTimeout(1000, { _, _ in }, nil, nil)
        let thread = Thread {
            while true { if virEventRunDefaultImpl() < 0 { Thread.sleep(forTimeInterval: 0.1) } }
        }
        thread.name = "roost-libvirt-ev"
        thread.start()
    }()

    static func start() { _ = started }
}

/// Owns one libvirt domain reference; freed exactly once.
struct DomainHandle: ~Copyable {
    let raw: OpaquePointer

    /// Takes over a reference.
    init(owning raw: OpaquePointer) { self.raw = raw }

    /// Looks a domain up; `nil` where there is none.
    init?(_ uuid: String, on connection: OpaquePointer) throws(HypervisorError) {
        guard let raw = virDomainLookupByUUIDString(connection, uuid) else {
            if LibvirtConnection.isLastError(VIR_ERR_NO_DOMAIN) { return nil }
            throw LibvirtConnection.lastError
        }
        self.raw = raw
    }

    deinit { virDomainFree(raw) }

    /// What the agent of `node` recorded in the domain; `nil` for a domain that is not its own, or is gone: several agents
    /// may share one libvirt. A libvirt that could not say is an error: taking ours for foreign would leave it running
    /// while its disk is removed.
    func marks(of node: NodeID) throws(HypervisorError) -> DomainXML.Marks? {
        guard let instance = Self.namedInstance(raw) else { return nil }
        guard let text = try markText() else { return nil }
        let marks = DomainXML.Marks(text)
        return marks?.instance == instance && marks?.node == node ? marks : nil
    }

    /// What an agent wrote into the domain; `nil` where none did, or the domain is gone.
    func markText() throws(HypervisorError) -> String? {
        guard
            let text = virDomainGetMetadata(
                raw, Int32(VIR_DOMAIN_METADATA_ELEMENT.rawValue), DomainXML.namespace, 0)
        else {
            for code in [VIR_ERR_NO_DOMAIN_METADATA, VIR_ERR_NO_DOMAIN] where LibvirtConnection.isLastError(code) {
                return nil
            }
            throw LibvirtConnection.lastError
        }
        defer { free(text) }
        return String(cString: text)
    }

    /// The instance that a domain's name speaks of, without asking libvirt.
    static func namedInstance(_ domain: OpaquePointer) -> InstanceID? {
        guard let name = virDomainGetName(domain).map({ String(cString: $0) }), name.hasPrefix("roost-"),
            let instance = InstanceID(name.dropFirst("roost-".count)), name == DomainXML.name(of: instance)
        else { return nil }
        return instance
    }

    func state() throws(HypervisorError) -> DomainState {
        var state: Int32 = 0
        var reason: Int32 = 0
        guard virDomainGetState(raw, &state, &reason, 0) == 0 else { throw LibvirtConnection.lastError }
        switch UInt32(bitPattern: state) {
        case VIR_DOMAIN_SHUTOFF.rawValue, VIR_DOMAIN_CRASHED.rawValue: return .shutOff(Self.reason(reason))
        case VIR_DOMAIN_PAUSED.rawValue: return .paused
        default: return .running
        }
    }

    private static func reason(_ reason: Int32) -> DomainState.Reason {
        switch UInt32(bitPattern: reason) {
        case VIR_DOMAIN_SHUTOFF_SHUTDOWN.rawValue: .guestShutdown
        case VIR_DOMAIN_SHUTOFF_CRASHED.rawValue: .crashed
        case VIR_DOMAIN_SHUTOFF_DESTROYED.rawValue: .destroyed
        case VIR_DOMAIN_SHUTOFF_FAILED.rawValue: .failed
        default: .unknown
        }
    }
}
