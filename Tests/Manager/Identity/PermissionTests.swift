import ManagerModel
import Testing

@testable import ManagerIdentity

@Suite("Permissions")
struct PermissionTests {
    /// What a user may do, written out a second time: a change of the table must be meant twice.
    private static let userMay: [Permission: [Ownership]] = [
        .siteStatusRead: Ownership.allCases, .apiDocumentRead: Ownership.allCases, .tokenRequest: Ownership.allCases,
        .flavorRead: Ownership.allCases, .notYetServed: Ownership.allCases,
        .userRead: [.own], .userChange: [.own],
        .keyPairRead: [.own], .keyPairCreate: [.own], .keyPairDelete: [.own],
        .imageRead: [.own, .shared], .imageCreate: [.own], .imageUpload: [.own], .imageChange: [.own],
        .imageDelete: [.own],
        .instanceRead: [.own], .instanceCreate: [.own], .instanceChange: [.own], .instancePower: [.own],
        .instanceDelete: [.own], .instanceConsole: [.own],
        .operationRead: [.own], .operationChange: [.own], .usageRead: [.own], .eventRead: [.own],
    ]

    @Test("the table", arguments: Permission.allCases)
    func table(permission: Permission) {
        for ownership in Ownership.allCases {
            #expect(Access.allows(.superuser, permission, ownership))
            let expected = Self.userMay[permission, default: []].contains(ownership)
            #expect(Access.allows(.user, permission, ownership) == expected, "\(permission) \(ownership)")
        }
        #expect(Access.mayEver(.user, permission) == (Self.userMay[permission] != nil))
    }

    @Test("only what tells nothing about anybody is open")
    func open() {
        #expect(
            Set(Permission.allCases.filter(Access.isOpen)) == [.siteStatusRead, .apiDocumentRead, .tokenRequest])
    }

    @Test("a user covers all of nothing that belongs to somebody")
    func coversAll() {
        for permission in Permission.allCases {
            #expect(Access.coversAll(.superuser, permission))
            #expect(
                Access.coversAll(.user, permission)
                    == [.siteStatusRead, .apiDocumentRead, .tokenRequest, .flavorRead, .notYetServed].contains(
                        permission))
        }
    }
}
