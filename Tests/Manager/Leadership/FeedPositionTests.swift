import Foundation
import ManagerModel
import ManagerStore
import ProtocolModel
import Testing

@testable import ManagerLeadership

@Suite("Following what other managers change")
struct FeedPositionTests {
    private let now = Timestamp(milliseconds: 1_790_000_000_000)

    private func at(_ seconds: Int) -> Uptime { Uptime(sinceStart: .seconds(seconds)) }

    private func user(_ name: String) -> User {
        User(
            id: .generate(at: now), name: name, role: .user, account: name, email: nil, passwordHash: "",
            tokensValidAfter: now, createdAt: now)
    }

    /// Writers on one record that change something each time they are asked to.
    private struct Site {
        let store: SynchronousStore
        let one = SynchronousStore.Writer(name: "one", isShared: true)
        let two = SynchronousStore.Writer(name: "two", isShared: true)

        init(at now: Timestamp) throws { store = try SynchronousStore(at: now) }

        func look(_ position: inout FeedPosition, at now: Uptime) throws -> FeedPosition.News {
            let last = position.last
            let look = try store.read { try FeedPosition.look(after: last, in: $0) }
            return position.take(look, writer: one.name, began: now)
        }
    }

    private func add(_ name: String, by writer: SynchronousStore.Writer, in site: Site) throws -> [Change] {
        try site.store.write(by: writer) { try $0.users.insert(user(name)) }.changes
    }

    @Test("changes of others are told once, its own and those of before its time never")
    func told() throws {
        let site = try Site(at: now)
        _ = try add("before", by: site.two, in: site)
        var position = FeedPosition(at: at(0))
        #expect(try site.look(&position, at: at(1)).changes.isEmpty, "where the feed ends")
        let changes = try add("after", by: site.two, in: site)
        #expect(!changes.isEmpty)
        _ = try add("mine", by: site.one, in: site)
        #expect(try site.look(&position, at: at(2)).changes == changes)
        #expect(try site.look(&position, at: at(3)).changes.isEmpty)
    }

    @Test("what was pruned before it was read may be anything")
    func pruned() throws {
        let site = try Site(at: now)
        _ = try add("first", by: site.two, in: site)
        var position = FeedPosition(at: at(0))
        _ = try site.look(&position, at: at(0))
        for index in 0..<5 { _ = try add("user\(index)", by: site.two, in: site) }
        _ = try site.store.write(by: site.two) { try $0.changeFeed.prune(keeping: 2, limit: 100) }
        #expect(try site.look(&position, at: at(1)).changes == [.everything])
        #expect(try site.look(&position, at: at(2)).changes.isEmpty)
    }

    @Test("one that could not look for long says so, until it can again")
    func behind() throws {
        let site = try Site(at: now)
        var position = FeedPosition(at: at(0))
        #expect(position.shortcoming(at: at(5)) == nil)
        #expect(position.shortcoming(at: at(6)) == "not caught up with the other managers for 6 s")
        _ = try site.look(&position, at: at(7))
        #expect(position.shortcoming(at: at(8)) == nil)
    }

    @Test("what is remembered may be trusted from the first look on, for as long as looks are fresh")
    func current() throws {
        let site = try Site(at: now)
        var position = FeedPosition(at: at(0))
        #expect(!position.isCurrent(within: .seconds(4), at: at(0)), "what was read before may have changed")
        _ = try site.look(&position, at: at(1))
        #expect(position.isCurrent(within: .seconds(4), at: at(5)))
        #expect(!position.isCurrent(within: .seconds(4), at: at(6)))
        _ = try site.look(&position, at: at(7))
        #expect(position.isCurrent(within: .seconds(4), at: at(7)))
    }
}
