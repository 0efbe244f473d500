import ProtocolMessages
import ProtocolModel
import SwiftProtobuf

/// Puts the parts of an assignment set together (SPEC section 6).
struct AssignmentParts: Sendable {
    private var begun: Roost_V1_AssignmentSet?
    private var count = 0

    /// The set, once its last part has come; `nil` before.
    mutating func add(_ part: Roost_V1_AssignmentSet) throws(AssignmentBook.Refusal) -> Roost_V1_AssignmentSet? {
        guard var set = begun else {
            guard part.more else { return part }
            begun = part
            count = 1
            return nil
        }
        guard part.revision == set.revision, part.full == set.full, part.baseRevision == set.baseRevision else {
            throw .malformed("a part of another assignment set than the one it had begun")
        }
        count += 1
        guard count <= Limits.assignmentSetParts else { throw .malformed("an assignment set beyond any host's") }
        begun = nil
        set.instances += part.instances
        set.images += part.images
        set.removedInstances += part.removedInstances
        set.removedImages += part.removedImages
        set.more = part.more
        guard part.more else { return set }
        begun = set
        return nil
    }
}
