public import ManagerModel
public import ProtocolModel

/// Who leads, from the point of view of one manager. A value with pure transitions: the caller feeds it time and what the
/// record said, and carries out its effects on the record and on the leader's work.
///
/// ```
///               the lease is free, or nobody renewed it for `lease`, by this clock
///   FOLLOWER ──acquire──▶ (record says yes, in time) ──▶ LEADER ──renew──▶ LEADER
///      ▲                                                   │
///      └── the record knows a higher term, the own clock says that `lease - margin` has passed since the last renewal
///          began, or the leader is asked to resign (then it hands the lease back) ───────────────┘
/// ```
///
/// Two things keep two leaders apart. By time: a leader counts its lease from the moment at which it *began* the renewal
/// that succeeded, and stops `margin` earlier than a follower, who counts from the moment at which it *saw* that renewal,
/// may take over; no two clocks are compared, and rates may differ by `margin / lease`. By number: whatever the clocks and
/// pauses, each write of a leader names its term, and the record refuses that of an old one (see `Store.write(as:)`).
public struct Leadership: Sendable {
    /// How long things take. Followers and leaders of one site have the same.
    public struct Times: Sendable, Equatable {
        /// A lease that nobody renews for so long is free.
        public var lease = Duration.seconds(4)
        /// How much earlier its holder stops.
        public var margin = Duration.seconds(1)
        /// Between two renewals.
        public var renewal = Duration.seconds(1)
        /// Between two looks at another's lease.
        public var poll = Duration.milliseconds(500)
        /// How long a manager that resigned leaves the lease to others.
        public var abstention = Duration.seconds(10)
        /// Nobody else can have the record open, so that whoever held the lease does so no longer.
        public var isAlone = false

        public init() {}

        /// Of managers that share a record: after a leader's sudden end another leads within about five seconds.
        public static let shared = Times()

        /// Of a manager whose record nobody else can open: it leads at once, and renewals need not cost much.
        public static let alone: Times = {
            var times = Times()
            times.isAlone = true
            (times.lease, times.margin, times.renewal) = (.seconds(120), .seconds(30), .seconds(20))
            return times
        }()
    }

    public enum Event: Sendable, Equatable {
        /// To be given several times within `poll`.
        case ticked
        /// The answer to `read`; `nil`: nobody has ever led.
        case read(Lease?)
        /// The answer to `acquire`; `nil`: another was faster.
        case acquired(Term?)
        /// The answer to `renew`; `false`: the record knows a higher term.
        case renewed(Term, Bool, resign: Bool)
        /// The record did not answer this `read`, `acquire` or `renew`.
        case failed(Effect)
        /// Hand leadership over, if it is here, and leave it to others for a while.
        case resign
        /// Hand it over for good: the process ends.
        case retire
    }

    public enum Effect: Sendable, Equatable {
        case read
        /// Take the lease, unless it has changed since it was like this.
        case acquire(over: Lease?)
        case renew(Term)
        /// Hand the lease back, so that nobody has to wait for its end.
        case release(Term)
        /// Begin the leader's work.
        case lead(Term)
        /// Stop the leader's work at once.
        case stop(Term)
    }

    public enum State: Sendable, Equatable {
        case follower
        case leader(Term)
        /// For the rest of the process's life.
        case retired
    }

    public private(set) var state = State.follower
    /// The lease as it was seen last.
    public private(set) var seen: Lease?
    private let own: ManagerID
    private let times: Times
    /// Since when the lease has looked like this.
    private var seenSince = Uptime(sinceStart: .zero)
    private var hasRead = false
    /// The question that the record has not answered yet, and when it was put.
    private var asked: (question: Effect, at: Uptime)?
    /// The next moment for a question.
    private var next = Uptime(sinceStart: .zero)
    /// When this leader stops, unless it renews.
    private var deadline = Uptime(sinceStart: .zero)
    /// Until when others come first.
    private var abstains: Uptime?

    public init(own: ManagerID, times: Times = Times()) {
        self.own = own
        self.times = times
    }

    public var term: Term? {
        if case .leader(let term) = state { term } else { nil }
    }

    /// Takes in what happened and says what to do about it, in this order.
    public mutating func handle(_ event: Event, at now: Uptime) -> [Effect] {
        // Whatever else happened: a leader whose time is over does nothing more.
        var effects = expired(at: now)
        switch event {
        case .ticked: effects += tick(at: now)
        case .read(let lease): effects += look(lease, at: now)
        case .acquired(let term): effects += acquired(term, at: now)
        case .renewed(let term, let isOurs, let resign): effects += renewed(term, isOurs, resign: resign, at: now)
        case .failed(let question):
            // One of an earlier term may fail long after it mattered.
            if asked?.question == question { asked = nil }
        case .resign:
            guard case .leader(let term) = state else { break }
            effects += resign(term, at: now)
        case .retire:
            if case .leader(let term) = state { effects += resign(term, at: now) }
            state = .retired
        }
        return effects
    }

    private mutating func expired(at now: Uptime) -> [Effect] {
        guard case .leader(let term) = state, now >= deadline else { return [] }
        return follow(after: term, at: now)
    }

    private mutating func follow(after term: Term, at now: Uptime) -> [Effect] {
        state = .follower
        // What was seen before this term is long past: the lease is watched anew.
        hasRead = false
        asked = nil
        next = now
        return [.stop(term)]
    }

    private mutating func resign(_ term: Term, at now: Uptime) -> [Effect] {
        abstains = now + times.abstention
        return follow(after: term, at: now) + [.release(term)]
    }

    private mutating func tick(at now: Uptime) -> [Effect] {
        guard asked == nil, now >= next else { return [] }
        switch state {
        case .leader(let term):
            next = now + times.renewal
            return ask(.renew(term), at: now)
        case .follower:
            next = now + times.poll
            return ask(.read, at: now)
        case .retired: return []
        }
    }

    private mutating func ask(_ question: Effect, at now: Uptime) -> [Effect] {
        asked = (question, now)
        return [question]
    }

    private mutating func look(_ lease: Lease?, at now: Uptime) -> [Effect] {
        guard state == .follower, asked?.question == .read else { return [] }
        asked = nil
        if !hasRead || lease?.term != seen?.term || lease?.renewals != seen?.renewals { seenSince = now }
        hasRead = true
        seen = lease
        let isFree = lease?.holder == nil || times.isAlone
        if let abstains {
            // Somebody else leads now, or nobody wants to.
            guard now >= abstains || (!isFree && lease?.holder != own) else { return [] }
            self.abstains = nil
        }
        // Its own lease is that of an earlier life of this manager: nobody else holds the data folder, so that life is over.
        guard isFree || lease?.holder == own || now - seenSince >= times.lease else { return [] }
        return ask(.acquire(over: lease), at: now)
    }

    private mutating func acquired(_ term: Term?, at now: Uptime) -> [Effect] {
        guard state == .follower, let (question, began) = asked, case .acquire = question else {
            // An answer that nobody waits for any more: a lease that came too late is handed back.
            return term.map { [.release($0)] } ?? []
        }
        asked = nil
        next = now
        guard let term else { return [] }
        deadline = began + (times.lease - times.margin)
        // The answer took so long that another may have come meanwhile.
        guard now < deadline else { return [.release(term)] }
        state = .leader(term)
        next = began + times.renewal
        return [.lead(term)]
    }

    private mutating func renewed(_ term: Term, _ isOurs: Bool, resign: Bool, at now: Uptime) -> [Effect] {
        guard state == .leader(term), let (question, began) = asked, question == .renew(term) else { return [] }
        asked = nil
        guard isOurs else { return follow(after: term, at: now) }
        deadline = began + (times.lease - times.margin)
        // The answer may have come after its own renewal's time.
        guard now < deadline else { return follow(after: term, at: now) }
        return resign ? self.resign(term, at: now) : []
    }
}
