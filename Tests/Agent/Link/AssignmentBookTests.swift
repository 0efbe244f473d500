import AgentDurability
import AgentReconcile
import Foundation
import ProtocolMessages
import ProtocolModel
import ProtocolTransfer
import SwiftProtobuf
import Testing
import TestsSupportAssignments
import TestsSupportFiles

@testable import AgentLink

@Suite("The desired set, as it arrives and as it is kept")
struct AssignmentBookTests {
    @Test("a whole set replaces everything, a delta what it names")
    func apply() throws {
        var book = AssignmentBook()
        let first = try book.apply(fullSet(3, [instanceMessage(firstInstance)]))
        guard case .full(let assignments) = first.instances else { Issue.record("not a whole set"); return }
        #expect(assignments.map(\.instance) == [firstInstance])
        #expect(first.images.map(\.image) == [someImage])
        let delta = Roost_V1_AssignmentSet.with {
            $0.revision = 4
            $0.baseRevision = 3
            $0.instances = [instanceMessage(secondInstance)]
            $0.removedInstances = [firstInstance.bytes]
            $0.removedImages = [someImage.bytes]
        }
        let second = try book.apply(delta)
        guard case .delta(let changed, let removed) = second.instances else { Issue.record("not a delta"); return }
        #expect(changed.map(\.instance) == [secondInstance] && removed == [firstInstance])
        #expect(second.removedImages == [someImage])
        #expect(book.revision == 4)
        #expect(Array(book.instances.keys) == [secondInstance])
        _ = try book.apply(fullSet(2, []))
        #expect(book.revision == 2 && book.instances.isEmpty)
    }

    @Test("devices are read with the instance that they are for, and told with the domain that has them")
    func devices() throws {
        var message = instanceMessage(firstInstance)
        message.devices = [
            .with {
                $0.address = "0000:3b:00.0"
                $0.alias = "K2_Grid"
            }
        ]
        #expect(
            try Assignment(message).guest.devices == [AssignedDevice(address: "0000:3b:00.0", alias: "K2_Grid")])
        #expect(try Assignment(instanceMessage(firstInstance)).guest.devices == [])
        message.devices = Array(repeating: message.devices[0], count: 257)
        #expect(throws: AssignmentBook.Refusal.self) { try Assignment(message) }
        let status = Status(
            instance: firstInstance, epoch: Epoch(1), generation: Generation(1), state: .running,
            at: Timestamp(milliseconds: 1), devices: ["0000:3b:00.0"])
        #expect(status.message.devices == ["0000:3b:00.0"])
    }

    @Test("hardware and place are read with the instance, within bounds, and what makes no sense is refused")
    func hardwareAndPlace() throws {
        var message = instanceMessage(firstInstance)
        message.hardware = ["hw_video_model": "vga", "of a newer manager": "x"]
        // Whether it is known is told with the start, so that the other instances of the set are not held up.
        #expect(try Assignment(message).guest.hardware.count == 2)
        message.hardware = ["hw_video_model": String(repeating: "x", count: 65)]
        #expect(throws: AssignmentBook.Refusal.self) { try Assignment(message) }
        message.hardware = Dictionary((0..<65).map { ("\($0)", "x") }) { first, _ in first }
        #expect(throws: AssignmentBook.Refusal.self) { try Assignment(message) }

        message = instanceMessage(firstInstance)
        #expect(try Assignment(message).guest.place == DomainPlace())
        message.vcpus = 2
        message.place = .with {
            $0.sharedProcessors = "0-3"
            $0.pageBytes = 2 << 20
            $0.cells = [
                .with { ($0.vcpus, $0.memoryBytes, $0.hostCell, $0.processors) = (2, 1 << 30, 1, [6, 7]) }
            ]
        }
        let place = try Assignment(message).guest.place
        #expect(place.shared == ProcessorSet([0, 1, 2, 3]) && place.pageBytes == 2 << 20)
        #expect(
            place.cells == [.init(host: 1, vcpus: 2, memoryBytes: 1 << 30, processors: [6, 7], shared: .none)])
        // None is not all.
        var none = message
        (none.place.sharedProcessors, none.place.sharesNone) = ("", true)
        #expect(try Assignment(none).guest.place.shared == ProcessorSet.none)
        none.place.sharesNone = false
        #expect(try Assignment(none).guest.place.shared == nil)
        let spoiled: [(inout Roost_V1_GuestPlace) -> Void] = [
            { $0.sharesNone = true },
            { $0.sharedProcessors = "0-" }, { $0.pageBytes = 3 }, { $0.cells[0].processors = [6, 6] },
            { $0.cells[0].processors = [6] }, { $0.cells[0].vcpus = 3 }, { $0.cells[0].memoryBytes = 1 },
            { $0.cells[0].processors = [6, 70_000] }, { $0.cells[0].sharedProcessors = "x" },
        ]
        for spoil in spoiled {
            var other = message
            spoil(&other.place)
            #expect(throws: AssignmentBook.Refusal.self, "\(other.place)") { try Assignment(other) }
        }
    }

    @Test("a delta to another set than ours changes nothing")
    func otherBase() throws {
        var book = AssignmentBook()
        _ = try book.apply(fullSet(3, [instanceMessage(firstInstance)]))
        let before = book
        let delta = Roost_V1_AssignmentSet.with {
            $0.revision = 9
            $0.baseRevision = 8
            $0.removedInstances = [firstInstance.bytes]
        }
        #expect(throws: AssignmentBook.Refusal.baseDiffers(ours: 3, theirs: 8)) { try book.apply(delta) }
        #expect(book == before)
    }

    @Test("what makes no sense is refused as a whole")
    func malformed() throws {
        let bad: [(inout Roost_V1_InstanceAssignment) -> Void] = [
            { $0.instanceID = Data([1, 2]) }, { $0.imageID = Data() }, { $0.desired = .unspecified },
            { $0.desired = .UNRECOGNIZED(9) }, { $0.userData = Data(count: Limits.userDataBytes + 1) },
        ]
        for spoil in bad {
            var book = AssignmentBook()
            var message = instanceMessage(firstInstance)
            spoil(&message)
            #expect(throws: AssignmentBook.Refusal.self) {
                try book.apply(fullSet(1, [instanceMessage(secondInstance), message]))
            }
            #expect(book == AssignmentBook())
        }
        var book = AssignmentBook()
        var set = fullSet(1, [])
        set.images = [.with { $0.imageID = Data([1]) }]
        #expect(throws: AssignmentBook.Refusal.self) { try book.apply(set) }
    }

    @Test("a stop timeout may be none at all, and zero")
    func timeouts() throws {
        var message = instanceMessage(firstInstance)
        message.stopTimeoutSeconds = .max
        message.bootTimeoutSeconds = 0
        #expect(try Assignment(message).stopTimeout == nil)
        #expect(try Assignment(message).bootTimeout == nil)
        message.stopTimeoutSeconds = 0
        #expect(try Assignment(message).stopTimeout == .zero)
    }

    @Test("whichever call fails while the book is kept, the old one or the new one is read back")
    func crashPoints() throws {
        var old = AssignmentBook()
        _ = try old.apply(fullSet(1, [instanceMessage(firstInstance)]))
        var new = old
        _ = try new.apply(fullSet(2, [instanceMessage(firstInstance, .stopped, generation: 2)]))
        var failures = 0
        for call in 1...10 {
            let folder = ScratchFolder()
            let files = FaultyFileSystem()
            let journal = AssignmentJournal(data: folder.path, files: files)
            try journal.save(old)
            files.fail(at: call)
            let isSaved = (try? journal.save(new)) != nil
            files.fail(at: nil)
            let loaded = try AssignmentJournal(data: folder.path).load()
            #expect(loaded == .book(new) || (!isSaved && loaded == .book(old)), "failing call \(call)")
            if isSaved { break }
            failures += 1
        }
        #expect(failures == 3)
    }

    @Test("a damaged journal is set aside and counts as none")
    func damage() throws {
        let folder = ScratchFolder()
        let journal = AssignmentJournal(data: folder.path)
        #expect(try journal.load() == .none)
        try Data("garbage".utf8).write(to: URL(fileURLWithPath: folder.path + "/assignments"))
        #expect(try journal.load() == .damaged(copy: folder.path + "/assignments.damaged"))
        #expect(FileManager.default.fileExists(atPath: folder.path + "/assignments.damaged"))
    }

    @Test("a boot of the host is noticed once")
    func boot() throws {
        let folder = ScratchFolder()
        let source = folder.path + "/boot_id"
        func read(_ id: String) throws -> Bool {
            try Data("\(id)\n".utf8).write(to: URL(fileURLWithPath: source))
            return try HostBoot.read(data: folder.path, source: source).hostRebooted
        }
        #expect(try !read("01900000-0000-7000-8000-00000000b001"))
        #expect(try !read("01900000-0000-7000-8000-00000000b001"))
        #expect(try read("01900000-0000-7000-8000-00000000b002"))
        #expect(try !read("01900000-0000-7000-8000-00000000b002"))
        #expect(throws: HostBoot.Problem.self) { try read("nonsense") }
    }
}
