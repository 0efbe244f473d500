import ProtocolModel
import ProtocolTransfer
import TestsSupportRandomness

@testable import AgentImages

/// Hosts that receive one image in chains, with the real planner and the real decisions of the agents, over modelled links:
/// each host has a rate up and down that its transfers share equally, and every message takes a while. Time is simulated,
/// so that a run is exact and takes no time of its own.
final class ChainSimulation {
    struct Site {
        var hosts = 8
        var chunks = 64
        var chunkBytes = 4 << 20
        /// Of every link, both ways: 200 Mbit/s.
        var bytesPerSecond = 25_000_000.0
        var latency = Duration.milliseconds(1)
        var locations = 1
        var seed: UInt64 = 1
        /// From a plan to its commit in the record.
        var commit = Duration.milliseconds(20)
    }

    /// What a chunk server does for one connection.
    final class Connection {
        let lane: LaneID
        let client: Int
        /// `nil`: the manager.
        let server: Int?
        var queue: [Int] = []
        var waitsSince: Duration?
        var isClosed = false
        // The answer under way.
        var sending: Int?
        var left = 0.0
        var told = 0.0
        var rate = 0.0
        var updatedAt = Duration.zero
        var version = 0

        init(lane: LaneID, client: Int, server: Int?) {
            self.lane = lane
            self.client = client
            self.server = server
        }
    }

    struct Host {
        let node: NodeID
        var held: ChunkBitmap
        var core: FetchCore?
        var connections: [LaneID: Connection] = [:]
        var serveTo: Set<NodeID> = []
        var sources: [ChunkSource] = []
        var up: Double
        var down: Double
        /// The process runs.
        var runs = true
        /// There is no kernel either that would refuse a connection.
        var isOff = false
        /// The process is stopped, as by SIGSTOP; what comes meanwhile is taken in afterwards.
        var isStopped = false
        var missed: [FetchCore.Event] = []
        var isCut = false
        /// Chunks that have rotted on its disk.
        var rotten: Set<Int> = []
        var finishedAt: Duration?
        var life = 0
    }

    let site: Site
    var hosts: [Host]
    private var managerUp: Double
    var managerRuns = true
    private(set) var machine = ChainMachine()
    /// The links as they are recorded.
    private(set) var record: [NodeID: NodeID?] = [:]
    private(set) var now = Duration.zero
    private(set) var bytesSent = 0.0
    private(set) var relinks: [(at: Duration, relink: ChainMachine.Relink)] = []
    private var queue = EventQueue()
    private var random: SeededNumbers
    private var byNode: [NodeID: Int] = [:]
    private var served: [Int: [Connection]] = [:]
    let image: ImageID
    private let manager = ChunkSource(node: nil, address: "manager:7403")

    init(_ site: Site) {
        self.site = site
        random = SeededNumbers(state: site.seed)
        managerUp = site.bytesPerSecond
        image = Self.identifier(0)
        hosts = (0..<site.hosts).map { number in
            Host(
                node: Self.identifier(number + 1), held: ChunkBitmap(count: site.chunks), up: site.bytesPerSecond,
                down: site.bytesPerSecond)
        }
        for (number, host) in hosts.enumerated() { byNode[host.node] = number }
    }

    /// What a chain of that many hosts can do at best.
    var theoreticalTime: Double {
        let chunk = Double(site.chunkBytes) / site.bytesPerSecond
        return Double(site.chunks) * chunk + Double(site.hosts - 1) * (chunk + site.latency.inSeconds)
    }

    var imageBytes: Double { Double(site.chunks) * Double(site.chunkBytes) }

    /// What was sent beyond one copy of what each host has, as a share of the image.
    var sentTwice: Double {
        (bytesSent - hosts.reduce(0) { $0 + Double($1.held.heldCount) } * Double(site.chunkBytes)) / imageBytes
    }

    /// When the last of them was done; infinite where one was not.
    func time(of numbers: some Sequence<Int>) -> Double {
        numbers.map { hosts[$0].finishedAt?.inSeconds ?? .infinity }.max() ?? 0
    }

    // MARK: Running

    func at(_ time: Duration, _ body: @escaping () -> Void) { queue.add(max(time, now), body) }
    func after(_ delay: Duration, _ body: @escaping () -> Void) { at(now + delay, body) }

    /// Asks for the image on some hosts, as a prefill does.
    func prefill(_ numbers: [Int]? = nil, priority: ChainMember.Priority = .prefill) {
        let newcomers = (numbers ?? Array(hosts.indices)).map { member($0, priority) }
        let known = record.keys.compactMap { byNode[$0] }.map { member($0, .prefill) }
        for (node, upstream) in ChainPlanner.place(newcomers, among: known) {
            record.updateValue(upstream, forKey: node)
        }
        tellMachine(priorities: Dictionary(uniqueKeysWithValues: newcomers.map { ($0.node, $0.priority) }))
        tellAll()
    }

    private func member(_ number: Int, _ priority: ChainMember.Priority) -> ChainMember {
        let host = hosts[number]
        return ChainMember(
            node: host.node, name: "n\(number + 1)", location: "rack\(number % site.locations)",
            state: host.held.isComplete ? .held : .fetching, upstream: record[host.node] ?? nil,
            chunksHeld: host.held.heldCount, chunksTotal: site.chunks, priority: priority)
    }

    private func tellMachine(priorities: [NodeID: ChainMember.Priority] = [:]) {
        let members = record.keys.sorted().compactMap { byNode[$0] }.map {
            member($0, priorities[hosts[$0].node] ?? .prefill)
        }
        carryOut(machine.handle(.recorded(image, members), at: uptime))
    }

    /// A new leader, which knows what is recorded and nothing else.
    func replaceManager(downFor gap: Duration) {
        managerRuns = false
        for connections in served[-1] ?? [] { breakOff(connections) }
        after(gap) { [self] in
            managerRuns = true
            machine = ChainMachine()
            tellMachine()
        }
    }

    func run(until end: Duration = .seconds(3600)) {
        after(.zero) { [self] in tickManager() }
        for number in hosts.indices { tick(number, life: 0, offset: .milliseconds(Int64(random.next() % 200))) }
        while let (time, body) = queue.next(), time <= end {
            now = time
            body()
            if isOver { break }
        }
    }

    private var isOver: Bool {
        hosts.allSatisfy { $0.finishedAt != nil || (!$0.runs && $0.life % 2 == 1) }
    }

    private var uptime: Uptime { Uptime(sinceStart: now) }

    // MARK: The manager

    private func tickManager() {
        if managerRuns { carryOut(machine.handle(.ticked, at: uptime)) }
        after(.milliseconds(250)) { [self] in tickManager() }
    }

    private func carryOut(_ effects: [ChainMachine.Effect]) {
        for case .relink(_, let changes) in effects {
            relinks += changes.map { (now, $0) }
            after(site.commit) { [self] in
                for change in changes where record[change.node] != nil {
                    record.updateValue(change.upstream, forKey: change.node)
                }
                tellAll()
            }
        }
    }

    /// Those whose assignment changed hear of it, each after a moment of its own.
    private func tellAll() {
        var children: [NodeID: [NodeID]] = [:]
        for (node, upstream) in record { if let upstream { children[upstream, default: []].append(node) } }
        for number in hosts.indices where record[hosts[number].node] != nil {
            let node = hosts[number].node
            let upstreams = ChainNeighbours.upstreams(of: node) { record[$0] ?? nil }
            let sources = upstreams.map { ChunkSource(node: $0, address: "\($0):7402") } + [manager]
            let serveTo = ChainNeighbours.downstreams(of: node) { children[$0] ?? [] }
            after(site.latency + .milliseconds(Int64(random.next() % 40))) { [self] in
                guard hosts[number].runs, !hosts[number].isCut, managerRuns else { return }
                hosts[number].serveTo = serveTo
                guard hosts[number].sources != sources else { return }
                hosts[number].sources = sources
                assign(number)
            }
        }
    }

    private func assign(_ number: Int) {
        guard !hosts[number].held.isComplete else { return }
        if hosts[number].core == nil {
            hosts[number].core = FetchCore(
                sources: hosts[number].sources, held: hosts[number].held, at: uptime)
            give(.ticked, to: number)
        } else {
            give(.assigned(hosts[number].sources), to: number)
        }
    }

    // MARK: Agents

    private func tick(_ number: Int, life: Int, offset: Duration) {
        after(offset) { [self] in
            guard hosts[number].life == life else { return }
            tickOnce(number, count: 0, life: life)
        }
    }

    private func tickOnce(_ number: Int, count: Int, life: Int) {
        guard hosts[number].life == life, hosts[number].runs else { return }
        if !hosts[number].isStopped {
            for connection in hosts[number].connections.values.sorted(by: { $0.lane < $1.lane }) {
                tellBytes(connection)
            }
            give(.ticked, to: number)
            // More often at first, as `ImageFetch` does.
            if count % (count < 150 ? 2 : 5) == 0 { report(number) }
        }
        after(.milliseconds(100)) { [self] in tickOnce(number, count: count + 1, life: life) }
    }

    private func report(_ number: Int) {
        let host = hosts[number]
        guard let core = host.core, !host.isCut else { return }
        let progress = ChainProgress(
            state: host.held.isComplete ? .held : .fetching, chunksHeld: host.held.heldCount, chunksTotal: site.chunks,
            throughput: core.throughput(at: uptime), bytesReceived: Int64(host.held.heldCount * site.chunkBytes),
            source: core.source?.node, complaint: core.complaint(at: uptime))
        after(site.latency) { [self] in
            guard managerRuns else { return }
            carryOut(machine.handle(.progressed(image, host.node, progress), at: uptime))
        }
    }

    private func give(_ event: FetchCore.Event, to number: Int) {
        guard hosts[number].runs, hosts[number].core != nil else { return }
        if hosts[number].isStopped {
            if case .ticked = event { return }
            hosts[number].missed.append(event)
            return
        }
        let effects = hosts[number].core?.handle(event, at: uptime) ?? []
        for effect in effects { carryOut(effect, of: number) }
    }

    private func carryOut(_ effect: FetchCore.Effect, of number: Int) {
        switch effect {
        case .connect(let lane, let source): connect(lane, source, number)
        case .askManifest: break
        case .ask(let lane, let index):
            guard let connection = hosts[number].connections[lane] else { return }
            after(site.latency) { [self] in
                guard !connection.isClosed, isThere(connection) else { return }
                connection.queue.append(index)
                serve(connection)
            }
        case .close(let lane):
            guard let connection = hosts[number].connections.removeValue(forKey: lane) else { return }
            end(connection)
        case .complain: report(number)
        case .finished:
            hosts[number].finishedAt = now
            report(number)
        }
    }

    private func connect(_ lane: LaneID, _ source: ChunkSource, _ number: Int) {
        let server = source.node.flatMap { byNode[$0] }
        let connection = Connection(lane: lane, client: number, server: server)
        hosts[number].connections[lane] = connection
        // A round trip for TCP, one for TLS.
        after(site.latency * 4) { [self] in
            guard !connection.isClosed else { return }
            if let server, hosts[server].isCut || hosts[number].isCut || hosts[server].isStopped { return }
            let listens = server.map { hosts[$0].runs } ?? managerRuns
            if !listens {
                // With the power off there is nobody to say no.
                if let server, hosts[server].isOff { return }
                connection.isClosed = true
                return give(.ended(lane, .broken), to: number)
            }
            served[server ?? -1, default: []].append(connection)
            give(.connected(lane), to: number)
        }
    }

    /// Whether what is sent arrives.
    private func isThere(_ connection: Connection) -> Bool {
        if hosts[connection.client].isCut || !hosts[connection.client].runs { return false }
        guard let server = connection.server else { return managerRuns }
        return hosts[server].runs && !hosts[server].isCut && !hosts[server].isStopped
    }

    // MARK: Serving

    private func holds(_ connection: Connection, _ index: Int) -> Bool {
        connection.server.map { hosts[$0].held.contains(index) } ?? true
    }

    /// Answers the next request where nothing is being answered.
    private func serve(_ connection: Connection) {
        guard connection.sending == nil, !connection.isClosed, isThere(connection), let index = connection.queue.first
        else {
            return
        }
        let lane = connection.lane
        let client = connection.client
        if let server = connection.server, !hosts[server].serveTo.contains(hosts[client].node) {
            connection.queue.removeFirst()
            after(site.latency) { [self] in tell(connection, .refused(lane, index, .unwilling)) }
            return serve(connection)
        }
        guard holds(connection, index) else {
            if connection.waitsSince == nil {
                connection.waitsSince = now
                pulse(connection, index)
            }
            return
        }
        let waited = connection.waitsSince.map { now - $0 } ?? .zero
        connection.waitsSince = nil
        connection.queue.removeFirst()
        connection.sending = index
        connection.left = Double(site.chunkBytes)
        connection.told = 0
        connection.updatedAt = now
        share(of: connection)
        after(site.latency) { [self] in tell(connection, .answering(lane, waited: waited)) }
    }

    private func pulse(_ connection: Connection, _ index: Int) {
        after(.milliseconds(250)) { [self] in
            guard !connection.isClosed, isThere(connection), let since = connection.waitsSince,
                connection.queue.first == index
            else { return }
            let waited = now - since
            if waited >= .seconds(5) {
                connection.queue.removeFirst()
                connection.waitsSince = nil
                after(site.latency) { [self] in tell(connection, .refused(connection.lane, index, .notYet)) }
                return serve(connection)
            }
            after(site.latency) { [self] in tell(connection, .waiting(connection.lane, waited)) }
            pulse(connection, index)
        }
    }

    private func tell(_ connection: Connection, _ event: FetchCore.Event) {
        guard !connection.isClosed, isThere(connection) else { return }
        give(event, to: connection.client)
    }

    // MARK: Links

    /// A transfer begins or ends: those that share a link with it get more or less.
    private func share(of connection: Connection) {
        for other in served[connection.server ?? -1] ?? [] where other.sending != nil { reschedule(other) }
        for other in hosts[connection.client].connections.values where other.sending != nil { reschedule(other) }
    }

    /// What does not move takes nothing from the others.
    private func moves(_ connection: Connection) -> Bool {
        connection.sending != nil && isThere(connection) && !hosts[connection.client].isStopped
    }

    /// What the receiver's link has for a transfer.
    private func room(of connection: Connection) -> Double {
        let host = hosts[connection.client]
        return host.down / Double(max(1, host.connections.values.count(where: moves)))
    }

    /// Those that share a sender's link take equal parts, and what one cannot take is for the others.
    private func rate(of connection: Connection) -> Double {
        guard moves(connection) else { return 0 }
        let sent = (served[connection.server ?? -1] ?? []).filter(moves)
        var left = connection.server.map { hosts[$0].up } ?? managerUp
        let rooms = sent.map(room).sorted()
        for (position, room) in rooms.enumerated() {
            let share = left / Double(rooms.count - position)
            if room >= share { return min(share, self.room(of: connection)) }
            left -= room
        }
        return room(of: connection)
    }

    private func update(_ connection: Connection) {
        let sent = min(connection.left, connection.rate * (now - connection.updatedAt).inSeconds)
        connection.left -= sent
        bytesSent += sent
        connection.updatedAt = now
    }

    private func reschedule(_ connection: Connection) {
        update(connection)
        let rate = rate(of: connection)
        // What is to end in this moment ends.
        guard rate != connection.rate || connection.version == 0 || connection.left == Double(site.chunkBytes) else {
            return
        }
        connection.rate = rate
        connection.version += 1
        let version = connection.version
        guard rate > 0 else { return }
        after(.nanoseconds(Int64(connection.left / rate * 1e9) + 1)) { [self] in
            guard connection.version == version, !connection.isClosed, connection.sending != nil else { return }
            arrived(connection)
        }
    }

    private func tellBytes(_ connection: Connection) {
        guard connection.sending != nil, !connection.isClosed else { return }
        update(connection)
        let came = Double(site.chunkBytes) - connection.left - connection.told
        guard came >= 1 else { return }
        connection.told += came
        give(.took(connection.lane, bytes: Int(came)), to: connection.client)
    }

    private func arrived(_ connection: Connection) {
        guard let index = connection.sending else { return }
        update(connection)
        bytesSent += connection.left
        connection.left = 0
        tellBytes(connection)
        connection.sending = nil
        connection.rate = 0
        connection.version += 1
        share(of: connection)
        let isRotten = connection.server.map { hosts[$0].rotten.contains(index) } ?? false
        let client = connection.client
        let life = hosts[client].life
        after(site.latency) { [self] in
            guard hosts[client].life == life else { return }
            guard !connection.isClosed || hosts[client].connections[connection.lane] === connection else { return }
            if isRotten {
                hosts[client].connections[connection.lane] = nil
                end(connection)
                return give(.ended(connection.lane, .lied), to: client)
            }
            hosts[client].held.insert(index)
            give(.received(connection.lane, index), to: client)
            for other in served[client] ?? [] where other.waitsSince != nil && other.queue.first == index {
                serve(other)
            }
        }
        serve(connection)
    }

    private func end(_ connection: Connection) {
        guard !connection.isClosed else { return }
        if connection.sending != nil {
            update(connection)
            connection.sending = nil
            connection.isClosed = true
            share(of: connection)
        }
        connection.isClosed = true
        connection.version += 1
        served[connection.server ?? -1]?.removeAll { $0 === connection }
    }

    /// The peer is told, as by the kernel of a host whose process died.
    private func breakOff(_ connection: Connection) {
        let client = connection.client
        guard !connection.isClosed else { return }
        end(connection)
        after(site.latency) { [self] in
            guard hosts[client].connections.removeValue(forKey: connection.lane) != nil else { return }
            give(.ended(connection.lane, .broken), to: client)
        }
    }

    private func linksChanged(of number: Int) {
        for connection in (served[number] ?? []) + Array(hosts[number].connections.values) { share(of: connection) }
    }

    // MARK: Faults

    /// The agent's process ends; its host's kernel says so.
    func kill(_ number: Int) {
        guard hosts[number].runs else { return }
        leave(number)
        for connection in served[number] ?? [] { breakOff(connection) }
        let node = hosts[number].node
        after(site.latency) { [self] in
            if managerRuns { carryOut(machine.handle(.disconnected(node), at: uptime)) }
        }
    }

    /// The host's power fails: nobody is told.
    func powerOff(_ number: Int) {
        guard hosts[number].runs else { return }
        hosts[number].isOff = true
        leave(number)
        linksChanged(of: number)
    }

    private func leave(_ number: Int) {
        hosts[number].runs = false
        hosts[number].life += 1
        hosts[number].core = nil
        for connection in hosts[number].connections.values { end(connection) }
        hosts[number].connections = [:]
    }

    /// The host or its agent comes back with the chunks that it had.
    func start(_ number: Int) {
        hosts[number].runs = true
        hosts[number].isOff = false
        hosts[number].life += 1
        served[number] = []
        tick(number, life: hosts[number].life, offset: .milliseconds(1))
        let node = hosts[number].node
        after(site.latency) { [self] in
            carryOut(machine.handle(.connected(node), at: uptime))
            hosts[number].sources = []
            tellAll()
        }
    }

    func stop(_ number: Int, for duration: Duration) {
        hosts[number].isStopped = true
        linksChanged(of: number)
        after(duration) { [self] in
            hosts[number].isStopped = false
            let missed = hosts[number].missed
            hosts[number].missed = []
            for event in missed { give(event, to: number) }
            linksChanged(of: number)
            for connection in served[number] ?? [] { serve(connection) }
        }
    }

    func cut(_ number: Int) {
        hosts[number].isCut = true
        linksChanged(of: number)
    }

    func heal(_ number: Int) {
        hosts[number].isCut = false
        linksChanged(of: number)
        // What the manager had to say is said again when the session is back.
        hosts[number].sources = []
        tellAll()
        for connection in served[number] ?? [] { serve(connection) }
    }

    func slowDown(_ number: Int, to share: Double) {
        hosts[number].up = site.bytesPerSecond * share
        hosts[number].down = site.bytesPerSecond * share
        linksChanged(of: number)
    }

    private static func identifier<Kind>(_ number: Int) -> ID<Kind> {
        var random = SeededNumbers(state: UInt64(number))
        return .generate(at: Timestamp(milliseconds: Int64(number)), using: &random)
    }
}
