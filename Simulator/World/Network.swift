public import ProtocolWire

/// A machine on the network.
public enum Place: Hashable, Sendable {
    case manager(Int)
    case host(Int)
}

/// How badly the network carries packets just now.
public struct NetworkQuality: Sendable {
    public var delay: ClosedRange<SimulatedTime> = .milliseconds(1)...(.milliseconds(5))
    /// Shares of packets, 0 to 1.
    public var loss = 0.0
    public var duplication = 0.0
    public var straggling = 0.0

    public init() {}
}

/// Machines that send packets to one another: they are lost, delayed, overtaken and doubled, and whole directions go dead.
/// Above that lies what the kernel makes of it: connections, in order and without gaps for as long as they last.
public final class Network {
    public let world: World
    public var quality = NetworkQuality()
    private var blocked: Set<Direction> = []

    struct Direction: Hashable {
        let from: Place
        let to: Place
    }

    /// How long the kernel of a side sends again before it gives a connection up.
    static let patience = SimulatedTime.seconds(20)

    public init(world: World) { self.world = world }

    /// Stops packets of one direction, or lets them pass again.
    public func block(from: Place, to: Place, _ isBlocked: Bool) {
        let direction = Direction(from: from, to: to)
        if isBlocked { blocked.insert(direction) } else { blocked.remove(direction) }
    }

    public func heal() { blocked = [] }

    public func passes(_ from: Place, _ to: Place) -> Bool {
        !blocked.contains(Direction(from: from, to: to)) && !world.random.chance(quality.loss)
    }

    public func isBlocked(_ from: Place, _ to: Place) -> Bool { blocked.contains(Direction(from: from, to: to)) }

    func delay() -> SimulatedTime {
        let delay = world.random.time(quality.delay)
        guard world.random.chance(quality.straggling) else { return delay }
        return delay + world.random.time(.milliseconds(50)...(.seconds(2)))
    }

    /// Makes a connection and tells what came of it: `nil` where nobody answered in time or nobody listens.
    ///
    /// - Parameter accept: the listener, asked when the first packet reaches it; false where there is none.
    public func connect(
        _ from: Place, to: Place, accept: @escaping (Connection) -> Bool, _ done: @escaping (Connection?) -> Void
    ) {
        let roundTrip = delay() + delay()
        guard passes(from, to), passes(to, from) else {
            // The handshake's packets come again; where they are lost for good the caller's limit ends it.
            return world.after(.seconds(10)) { done(nil) }
        }
        world.after(roundTrip) { [self] in
            let connection = Connection(network: self, dialler: from, listener: to)
            done(accept(connection) ? connection : nil)
        }
    }
}

/// One connection, with both its ends.
public final class Connection {
    public enum Side: Int, Sendable {
        case dialler = 0
        case listener = 1

        var other: Side { self == .dialler ? .listener : .dialler }
    }

    /// What a side hears.
    public enum Arrival {
        case message(Message)
        /// The other side has closed, or it is gone.
        case ended
    }

    private struct End {
        let place: Place
        var isOpen = true
        var handler: ((Arrival) -> Void)?
        var nextToSend: UInt64 = 0
        var nextToHear: UInt64 = 0
        var early: [UInt64: Message?] = [:]
        var waiting: [Arrival] = []
    }

    private let network: Network
    private var ends: [End]

    init(network: Network, dialler: Place, listener: Place) {
        self.network = network
        ends = [End(place: dialler), End(place: listener)]
    }

    public func isOpen(_ side: Side) -> Bool { ends[side.rawValue].isOpen }

    /// Says who hears what arrives at a side; what has arrived before is given at once.
    public func listen(_ side: Side, _ handler: @escaping (Arrival) -> Void) {
        ends[side.rawValue].handler = handler
        let waiting = ends[side.rawValue].waiting
        ends[side.rawValue].waiting = []
        for arrival in waiting { handler(arrival) }
    }

    public func send(_ message: Message, from side: Side) {
        guard ends[side.rawValue].isOpen else { return }
        transmit(message, from: side)
    }

    /// Closes a side; the other hears of it behind what was sent before.
    public func close(_ side: Side) {
        guard ends[side.rawValue].isOpen else { return }
        transmit(nil, from: side)
        ends[side.rawValue].isOpen = false
        ends[side.rawValue].handler = nil
    }

    /// The machine of a side lost its power: nothing is said any more, and what arrives is not heard.
    public func vanish(_ side: Side) {
        ends[side.rawValue].isOpen = false
        ends[side.rawValue].handler = nil
    }

    // MARK: Packets

    private func transmit(_ content: Message?, from side: Side) {
        let number = ends[side.rawValue].nextToSend
        ends[side.rawValue].nextToSend += 1
        attempt(content, number, from: side, since: network.world.now, wait: .milliseconds(200))
    }

    private func attempt(
        _ content: Message?, _ number: UInt64, from side: Side, since: SimulatedTime, wait: SimulatedTime
    ) {
        let (from, to) = (ends[side.rawValue].place, ends[side.other.rawValue].place)
        let world = network.world
        let passes = network.passes(from, to)
        if passes {
            world.after(network.delay()) { self.arrive(content, number, at: side.other) }
            if world.random.chance(network.quality.duplication) {
                world.after(network.delay()) { self.arrive(content, number, at: side.other) }
            }
        }
        // The other kernel's word that it came may get lost as well: then the same packet comes again.
        guard !passes || !network.passes(to, from) else { return }
        guard world.now - since < Network.patience else { return broken(side) }
        world.after(wait) {
            guard self.ends[side.rawValue].isOpen || content == nil else { return }
            self.attempt(
                content, number, from: side, since: since,
                wait: min(.seconds(4), SimulatedTime(microseconds: wait.microseconds * 2)))
        }
    }

    private func arrive(_ content: Message?, _ number: UInt64, at side: Side) {
        guard ends[side.rawValue].isOpen, number >= ends[side.rawValue].nextToHear else { return }
        ends[side.rawValue].early[number] = .some(content)
        while ends[side.rawValue].isOpen,
            let next = ends[side.rawValue].early.removeValue(forKey: ends[side.rawValue].nextToHear)
        {
            ends[side.rawValue].nextToHear += 1
            if let next { tell(.message(next), side) } else { broken(side) }
        }
    }

    private func broken(_ side: Side) {
        guard ends[side.rawValue].isOpen else { return }
        tell(.ended, side)
        ends[side.rawValue].isOpen = false
        ends[side.rawValue].handler = nil
    }

    private func tell(_ arrival: Arrival, _ side: Side) {
        if let handler = ends[side.rawValue].handler {
            handler(arrival)
        } else {
            ends[side.rawValue].waiting.append(arrival)
        }
    }
}
