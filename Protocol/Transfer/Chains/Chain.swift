import ProtocolModel

/// The chains of one image, inside `ChainMachine`.
struct Chain: Sendable {
    /// One node, and what was seen of it.
    struct Link: Sendable {
        var member: ChainMember
        /// When it was last heard about this image; `nil`: not in this manager's life.
        var heardAt: Uptime?
        /// Since when it has been known here.
        var knownSince: Uptime
        /// Its session ended, or it was missed; until it is heard again.
        var isOut = false
        var barredUntil: Uptime?
        /// What it gets in all, waiting included.
        var intake = Intake()
        /// The last measurement, and whether it was poor all the time since.
        var rate: Int64?
        var slowSince: Uptime?
        var crawlingSince: Uptime?
        var isSlow = false
        /// When it was last given another upstream, or its upstream was.
        var settledAt: Uptime
        /// From whom it got data as fast as most: then it is not slow itself.
        var quickFrom: Set<NodeID> = []
        /// Complaints of its own, for one that finds fault with everybody.
        var complaints: [NodeID: Uptime] = [:]
    }

    private let settings: ChainMachine.Settings
    private(set) var links: [NodeID: Link] = [:]
    private var relinks: [NodeID: ChainMachine.Relink] = [:]
    private var began: Uptime?
    /// When anybody was heard.
    private var lastHeard: (at: Uptime, from: NodeID)?

    init(settings: ChainMachine.Settings) { self.settings = settings }

    var isActive: Bool { links.values.contains { $0.member.state == .fetching } }

    mutating func takeRelinks() -> [ChainMachine.Relink] {
        defer { relinks = [:] }
        return relinks.values.sorted { $0.node < $1.node }
    }

    // MARK: What the record says

    mutating func take(_ members: [ChainMember], at now: Uptime) {
        let isFirst = began == nil
        began = began ?? now
        let present = Set(members.map(\.node))
        for gone in links.keys.filter({ !present.contains($0) }).sorted() {
            bypass(gone, .removed, at: now)
            links[gone] = nil
        }
        var newcomers: [NodeID] = []
        for member in members {
            guard let known = links[member.node] else {
                links[member.node] = Link(member: member, knownSince: now, settledAt: now)
                newcomers.append(member.node)
                continue
            }
            refresh(known, with: member, at: now)
        }
        for node in newcomers where !isFirst { join(node, at: now) }
    }

    /// Links and progress are known better here.
    private mutating func refresh(_ known: Link, with member: ChainMember, at now: Uptime) {
        let node = member.node
        let pauses = member.isPaused && !known.member.isPaused
        links[node]?.member.name = member.name
        links[node]?.member.location = member.location
        links[node]?.member.priority = member.priority
        links[node]?.member.isPaused = member.isPaused
        // One that was asked for anew after it failed or was thrown away.
        if known.member.state != .fetching, member.state == .fetching, member.chunksHeld < known.member.chunksHeld {
            links[node]?.member.state = .fetching
            links[node]?.member.chunksHeld = member.chunksHeld
            links[node]?.heardAt = nil
            links[node]?.knownSince = now
        }
        if pauses { bypass(node, .paused, at: now) }
    }

    /// A newcomer's place was chosen from the record alone, which does not know who is slow or out.
    private mutating func join(_ node: NodeID, at now: Uptime) {
        guard let link = links[node], link.member.state == .fetching else { return }
        if let upstream = link.member.upstream, let above = links[upstream], isUsable(above, at: now), !above.isSlow,
            !links.values.contains(where: { $0.member.upstream == upstream && $0.member.node != node && pulls($0) })
        {
            return
        }
        let place = crew(at: now).place(for: link.member, except: below(node))
        if place != link.member.upstream, place != nil || link.member.upstream.map({ links[$0] == nil }) ?? false {
            relink(node, to: place, .joined, culprit: nil, at: now)
        }
    }

    // MARK: What nodes say

    mutating func connect(_ node: NodeID, at now: Uptime) {
        links[node]?.member.isReachable = true
        // Until its first report.
        links[node]?.knownSince = now
        links[node]?.heardAt = nil
        if links[node]?.member.state != .fetching { links[node]?.isOut = false }
    }

    mutating func excuse(_ nodes: Set<NodeID>, at now: Uptime) {
        for node in nodes where links[node]?.heardAt != nil { links[node]?.heardAt = now }
    }

    mutating func disconnect(_ node: NodeID, at now: Uptime) {
        guard links[node] != nil else { return }
        links[node]?.member.isReachable = false
        remove(node, .disconnected, at: now)
    }

    mutating func hear(_ node: NodeID, _ progress: ChainProgress, at now: Uptime) {
        guard var link = links[node] else { return }
        link.heardAt = now
        link.isOut = false
        link.member.isReachable = true
        link.member.state = progress.state
        link.member.chunksHeld = progress.chunksHeld
        link.member.chunksTotal = progress.chunksTotal
        link.intake.note(progress.state == .fetching ? progress.bytesReceived : nil, at: now)
        link.rate = progress.throughput
        if let rate = progress.throughput { link.member.throughput = rate }
        links[node] = link
        lastHeard = (now, node)
        if let complaint = progress.complaint { weigh(complaint, of: node, at: now) }
    }

    /// Somebody's source failed. Only what is said of its upstream in the plan calls for a new one.
    private mutating func weigh(_ complaint: SourceComplaint, of node: NodeID, at now: Uptime) {
        guard let culprit = complaint.source, links[culprit] != nil else { return }
        if complaint.failure == .lied, links[culprit]?.barredUntil == nil {
            links[culprit]?.barredUntil = now + settings.barredFor
            return remove(culprit, .complaint(.lied), at: now, isOut: false)
        }
        guard links[node]?.member.upstream == culprit else { return }
        var complaints = (links[node]?.complaints ?? [:]).filter { now - $0.value < .seconds(30) }
        complaints[culprit] = now
        links[node]?.complaints = complaints
        let isHeard = links[culprit]?.heardAt.map { now - $0 < .seconds(1) } ?? false
        let accused = complaints.keys.filter { links[$0]?.isOut == false }
        if isHeard, accused.count > 1 {
            // Two that others hear well: it is the one that finds fault.
            bypass(node, .complaint(complaint.failure), at: now)
            park(node, .complaint(complaint.failure), at: now)
        } else {
            remove(culprit, .complaint(complaint.failure), at: now, isOut: !isHeard)
        }
    }

    // MARK: What time says

    mutating func tick(at now: Uptime) {
        for node in links.keys.sorted() {
            if let until = links[node]?.barredUntil, until <= now { links[node]?.barredUntil = nil }
        }
        missTheSilent(at: now)
        demoteTheSlow(at: now)
    }

    private mutating func missTheSilent(at now: Uptime) {
        for node in links.keys.sorted() {
            guard let link = links[node], link.member.state == .fetching, !link.isOut, !link.member.isPaused else {
                continue
            }
            if let heardAt = link.heardAt {
                // Where nobody else was heard since, it may be this manager that was away.
                guard now - heardAt > settings.silence, let lastHeard, lastHeard.from != node,
                    lastHeard.at - heardAt > settings.silence / 2
                else { continue }
            } else {
                guard now - link.knownSince > settings.returning else { continue }
            }
            remove(node, .silent, at: now)
        }
    }

    private mutating func demoteTheSlow(at now: Uptime) {
        let measured = links.values.filter { pulls($0) && !$0.isOut && $0.rate != nil }
        let median = measured.count >= 3 ? ChainPlanner.median(measured.compactMap(\.rate)) ?? 0 : 0
        for link in measured {
            if let supply = supply(of: link, at: now) {
                judge(link.member.node, supply, at: now)
            } else {
                judge(link.member.node, median, isBurst: true, at: now)
            }
        }
        // From the heads: who is behind a slow one looks slow as well.
        for node in fromTheHeads() {
            guard let link = links[node], !link.isSlow, now - link.settledAt >= settings.settling else { continue }
            let isLate = link.slowSince.map { now - $0 >= settings.slowFor } ?? false
            let crawls = link.crawlingSince.map { now - $0 >= settings.crawlFor } ?? false
            guard isLate || crawls else { continue }
            let culprit = blame(for: link)
            links[culprit]?.isSlow = true
            links[culprit]?.slowSince = nil
            links[culprit]?.crawlingSince = nil
            if culprit != node {
                links[node]?.slowSince = nil
                links[node]?.crawlingSince = nil
            }
            bypass(culprit, .slow, at: now)
            park(culprit, .slow, at: now)
            return
        }
    }

    /// What a node could get, since its upstream gets it. Hosts that keep up wait most of the time, which says nothing of how
    /// fast they are: in a chain with one slow host, that one and whoever is behind it may be all that can be measured.
    private func supply(of link: Link, at now: Uptime) -> Int64? {
        guard let upstream = link.member.upstream, let above = links[upstream], pulls(above), !above.isOut,
            // What two pull each gets half of.
            !links.values.contains(where: {
                $0.member.upstream == upstream && $0.member.node != link.member.node && pulls($0)
            })
        else { return nil }
        return above.intake.rate(at: now).flatMap { $0 > 0 ? $0 : nil }
    }

    /// - Parameters:
    ///   - usual: What the node should receive, bytes a second.
    ///   - isBurst: It is the rate of others, who wait between chunks. After each rest a link lets more through than it carries
    ///     for long, so that only a crawl says something beside it.
    private mutating func judge(_ node: NodeID, _ usual: Int64, isBurst: Bool = false, at now: Uptime) {
        guard usual > 0, let link = links[node], let rate = link.rate else { return }
        let share = Double(rate) / Double(usual)
        let slowShare = isBurst ? settings.crawlShare : ChainPlanner.slowShare
        links[node]?.slowSince = share < slowShare ? link.slowSince ?? now : nil
        links[node]?.crawlingSince = share < settings.crawlShare ? link.crawlingSince ?? now : nil
        if share >= slowShare, now - link.settledAt >= settings.settling {
            if let upstream = link.member.upstream { links[node]?.quickFrom.insert(upstream) }
            // It has recovered, and others may be behind it again.
            links[node]?.isSlow = false
        }
    }

    /// A slow link has two ends. One that was quick behind somebody else is not the slow one.
    private func blame(for link: Link) -> NodeID {
        guard let upstream = link.member.upstream, links[upstream] != nil,
            link.quickFrom.contains(where: { $0 != upstream })
        else { return link.member.node }
        return upstream
    }

    // MARK: Changing links

    /// Takes a node out of everybody's way, and gives it a place at an end.
    private mutating func remove(_ node: NodeID, _ cause: ChainMachine.Cause, at now: Uptime, isOut: Bool = true) {
        if isOut { links[node]?.isOut = true }
        bypass(node, cause, at: now)
        park(node, cause, at: now)
    }

    /// Those behind a node take its upstream, or the next one before that which can serve.
    private mutating func bypass(_ node: NodeID, _ cause: ChainMachine.Cause, at now: Uptime) {
        guard let link = links[node] else { return }
        var upstream = link.member.upstream
        var seen: Set<NodeID> = [node]
        while let above = upstream, seen.insert(above).inserted, !(links[above].map { isUsable($0, at: now) } ?? false)
        {
            upstream = links[above]?.member.upstream
        }
        for child in children(of: node) where links[child]?.member.state == .fetching {
            relink(child, to: upstream == child ? nil : upstream, cause, culprit: node, at: now)
        }
    }

    /// A node that nobody is behind any more goes to the end of a chain, unless it is at one.
    private mutating func park(_ node: NodeID, _ cause: ChainMachine.Cause, at now: Uptime) {
        guard let link = links[node], link.member.state == .fetching else { return }
        let place = crew(at: now, without: node).place(for: link.member, except: below(node))
        guard place != link.member.upstream, place != nil else { return }
        relink(node, to: place, cause, culprit: node, at: now)
    }

    private mutating func relink(
        _ node: NodeID, to upstream: NodeID?, _ cause: ChainMachine.Cause, culprit: NodeID?, at now: Uptime
    ) {
        links[node]?.member.upstream = upstream
        // What those behind it get is disturbed as well.
        for each in below(node).union([node]) {
            links[each]?.settledAt = now
            links[each]?.rate = nil
            links[each]?.intake.restart()
            links[each]?.slowSince = nil
            links[each]?.crawlingSince = nil
        }
        relinks[node] = ChainMachine.Relink(node: node, upstream: upstream, cause: cause, culprit: culprit)
    }

    // MARK: Who is where

    private func pulls(_ link: Link) -> Bool { link.member.state == .fetching && !link.member.isPaused }

    private func isUsable(_ link: Link, at now: Uptime) -> Bool {
        !link.isOut && link.barredUntil == nil && link.member.isReachable && link.member.state != .failed
            && (!link.member.isPaused || link.member.state == .held)
    }

    private func children(of node: NodeID) -> [NodeID] {
        links.values.filter { $0.member.upstream == node && $0.member.node != node }.map(\.member.node).sorted()
    }

    private func childrenOfAll() -> [NodeID?: [NodeID]] {
        Dictionary(grouping: links.keys.sorted()) { links[$0]?.member.upstream }
    }

    /// All that wait for a node, directly or not.
    private func below(_ node: NodeID) -> Set<NodeID> {
        let children = childrenOfAll()
        var found: Set<NodeID> = []
        var rest = [node]
        while let next = rest.popLast() {
            for child in children[next] ?? [] where found.insert(child).inserted { rest.append(child) }
        }
        found.remove(node)
        return found
    }

    /// Everybody, upstreams first.
    private func fromTheHeads() -> [NodeID] {
        let children = childrenOfAll()
        let heads = links.values.filter { link in link.member.upstream.map { links[$0] == nil } ?? true }
        var order = heads.map(\.member.node).sorted()
        var position = 0
        while position < order.count {
            order += children[order[position]] ?? []
            position += 1
        }
        return order
    }

    private func crew(at now: Uptime, without node: NodeID? = nil) -> ChainCrew {
        var members: [ChainMember] = []
        var slow: Set<NodeID> = []
        var barred: Set<NodeID> = []
        for link in links.values {
            if !isUsable(link, at: now) { barred.insert(link.member.node) }
            if link.isSlow { slow.insert(link.member.node) }
            // The load that it is itself counts for nothing where its own place is looked for.
            var member = link.member
            if member.node == node || link.isOut { member.upstream = nil }
            members.append(member)
        }
        return ChainCrew(members, slow: slow, barred: barred)
    }
}
