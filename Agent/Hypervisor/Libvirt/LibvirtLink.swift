import CLibvirt

/// Owns one connection of libvirt from its opening to its end; whoever makes a call holds it meanwhile, and no other does.
final class LibvirtLink: Sendable {
    // SAFETY: the compiler takes no C pointer for Sendable. libvirt's connections may be used from any thread (its FAQ, "Is libvirt
    // thread safe?"), and count their references.
    nonisolated(unsafe) let pointer: OpaquePointer
    /// `nil`: it tells nothing.
    private let lifecycle: Int32?

    /// A peer that leaves so many probes unanswered, one every so many seconds, is gone.
    private static let keepaliveSeconds: Int32 = 5
    private static let keepaliveCount: UInt32 = 3

    /// Connects, which may block.
    ///
    /// - Parameter events: is told of domains, and of the connection's end.
    init(uri: String, events: EventChannel?) throws {
        guard let pointer = virConnectOpen(uri) else {
            throw HypervisorError.unreachable(LibvirtConnection.lastMessage)
        }
        // Drivers that live in this process have no keepalive, and nothing that could die.
        _ = virConnectSetKeepAlive(pointer, Self.keepaliveSeconds, Self.keepaliveCount)
        guard let events else {
            self.pointer = pointer
            lifecycle = nil
            return
        }
        let listener = Unmanaged.passRetained(Listener(events))
        let lifecycle = virConnectDomainEventRegisterAny(
            pointer, nil, Int32(VIR_DOMAIN_EVENT_ID_LIFECYCLE.rawValue), Self.generic, listener.toOpaque(),
            Self.released)
        guard lifecycle >= 0 else {
            let error = LibvirtConnection.lastError
            listener.release()
            virConnectClose(pointer)
            throw error
        }
        let closeListener = Unmanaged.passRetained(Listener(events))
        if virConnectRegisterCloseCallback(pointer, Self.closed, closeListener.toOpaque(), Self.released) != 0 {
            // Not every driver can lose its peer; one that can and does is then found dead by the next call.
            closeListener.release()
        }
        self.pointer = pointer
        self.lifecycle = lifecycle
    }

    /// libvirt keeps a connection for as long as it has callbacks.
    deinit {
        if let lifecycle {
            virConnectUnregisterCloseCallback(pointer, Self.closed)
            virConnectDomainEventDeregisterAny(pointer, lifecycle)
        }
        virConnectClose(pointer)
    }

    var isAlive: Bool { virConnectIsAlive(pointer) == 1 }

    // MARK: What libvirt calls, on its own thread

    /// Does not know the connection, which would otherwise never end.
    private final class Listener: Sendable {
        let events: EventChannel
        init(_ events: EventChannel) { self.events = events }
    }

    private static let released: virFreeCallback = { opaque in
        if let opaque { Unmanaged<Listener>.fromOpaque(opaque).release() }
    }

    private static let closed: virConnectCloseFunc = { _, _, opaque in
        guard let opaque else { return }
        Unmanaged<Listener>.fromOpaque(opaque).takeUnretainedValue().events.send(.connectionLost)
    }

    /// SAFETY: libvirt takes callbacks of every kind as the generic one, and calls them by the kind they came for.
    private static let generic: virConnectDomainEventGenericCallback = {
        let lifecycle: virConnectDomainEventCallback = { _, domain, event, detail, opaque in
            guard let domain, let opaque, let told = LibvirtLink.event(of: domain, event, detail) else { return 0 }
            Unmanaged<Listener>.fromOpaque(opaque).takeUnretainedValue().events.send(told)
            return 0
        }
        return unsafeBitCast(lifecycle, to: virConnectDomainEventGenericCallback.self)
    }()

    private static func event(of domain: OpaquePointer, _ event: Int32, _ detail: Int32) -> DomainEvent? {
        // The name says whose it is; its marks may be gone with an undefined domain.
        guard let instance = DomainHandle.namedInstance(domain) else { return nil }
        switch UInt32(bitPattern: event) {
        case VIR_DOMAIN_EVENT_STARTED.rawValue: return .started(instance)
        case VIR_DOMAIN_EVENT_STOPPED.rawValue:
            switch UInt32(bitPattern: detail) {
            case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN.rawValue: return .stopped(instance, .guestShutdown)
            case VIR_DOMAIN_EVENT_STOPPED_CRASHED.rawValue: return .stopped(instance, .crashed)
            case VIR_DOMAIN_EVENT_STOPPED_DESTROYED.rawValue: return .stopped(instance, .destroyed)
            // What libvirt tells of a QEMU that ended without a word, as one that was killed.
            case VIR_DOMAIN_EVENT_STOPPED_FAILED.rawValue: return .stopped(instance, .crashed)
            default: return .stopped(instance, .unknown)
            }
        case VIR_DOMAIN_EVENT_CRASHED.rawValue: return .stopped(instance, .crashed)
        default: return nil
        }
    }
}
