import ManagerModel
import Testing

@Suite("Rights")
struct RightsTests {
    /// What the roles may do, written out a second time: a change of the table must be meant twice.
    private static let userMay: [Permission: Reach] = [
        .userRead: .own, .userChange: .own, .accountRead: .own, .groupRead: .own,
        .keyPairRead: .own, .keyPairCreate: .own, .keyPairChange: .own, .keyPairDelete: .own,
        .serverGroupRead: .own, .serverGroupCreate: .own, .serverGroupDelete: .own,
        .apiKeyRead: .own, .apiKeyCreate: .own, .apiKeyChange: .own, .apiKeyDelete: .own, .quotaRead: .own,
        .imageRead: .own, .imageCreate: .own, .imageUpload: .own, .imageChange: .own, .imageDelete: .own,
        .instanceRead: .own, .instanceCreate: .own, .instanceChange: .own, .instancePower: .own,
        .instanceDelete: .own, .instanceConsole: .own,
        .operationRead: .own, .operationChange: .own, .usageRead: .own, .eventRead: .own,
        .flavorRead: .all, .roleRead: .all, .notYetServed: .all,
    ]
    private static let accountOwnerMayMore: [Permission: Reach] = [
        .userRead: .account, .userCreate: .account, .userChange: .account, .userAdminister: .account,
        .userDelete: .account, .accountRead: .account, .accountChange: .account, .groupRead: .account,
        .groupCreate: .account, .groupChange: .account, .groupDelete: .account, .apiKeyRead: .account,
        .apiKeyDelete: .account, .quotaRead: .account, .quotaChange: .account, .imageRead: .account,
        .imageChange: .account, .imageDelete: .account, .instanceRead: .account, .instanceChange: .account,
        .instancePower: .account, .instanceDelete: .account, .operationRead: .account, .usageRead: .account,
        .eventRead: .account,
    ]

    @Test("the table", arguments: Permission.allCases)
    func table(permission: Permission) {
        guard !permission.isOpen else {
            for role in Role.allCases { #expect(Rights.builtIn(role)[permission] == .all) }
            return
        }
        #expect(Rights.builtIn(.superuser)[permission] == .all)
        #expect(Rights.builtIn(.user)[permission] == Self.userMay[permission] ?? Reach.none, "\(permission)")
        #expect(
            Rights.builtIn(.accountOwner)[permission]
                == Self.accountOwnerMayMore[permission] ?? Self.userMay[permission] ?? Reach.none, "\(permission)")
    }

    @Test("services change nothing that is not their own")
    func services() {
        for role in [Role.controllerService, .accountantService] {
            for (permission, reach) in Rights.builtIn(role).granted where reach == .all {
                let reads =
                    permission.rawValue.hasSuffix("Read") || [.tokenIntrospect, .notYetServed].contains(permission)
                #expect(reads, "\(role) \(permission)")
            }
        }
    }

    @Test("only what tells nothing about anybody, or is how one gets in, is open")
    func open() {
        #expect(
            Set(Permission.allCases.filter(\.isOpen))
                == [.siteStatusRead, .apiDocumentRead, .tokenRequest, .registrationRequest])
    }

    @Test("a reach covers what is nearer, and nothing that is farther", arguments: Reach.allCases)
    func reaches(reach: Reach) {
        let rights = Rights([.instanceRead: reach, .imageRead: reach])
        #expect(rights.allows(.instanceRead, .own) == (reach >= .own))
        #expect(rights.allows(.instanceRead, .account) == (reach >= .account))
        #expect(rights.allows(.instanceRead, .foreign) == (reach == .all))
        #expect(rights.allows(.instanceRead, .shared) == (reach == .all))
        #expect(rights.allows(.imageRead, .shared) == (reach >= .own))
    }

    @Test("SEC-08 what is derived from rights never exceeds them, at any hop")
    func derived() {
        var random = SystemRandomNumberGenerator()
        func arbitrary() -> Rights {
            Rights(
                Dictionary(
                    uniqueKeysWithValues: Permission.allCases.map {
                        ($0, Reach.allCases.randomElement(using: &random)!)
                    }))
        }
        for _ in 0..<200 {
            let (a, b) = (arbitrary(), arbitrary())
            #expect(a.union(b).covers(a) && a.union(b).covers(b))
            let some = Set(Permission.allCases.filter { _ in Bool.random(using: &random) })
            let limited = a.limited(to: some)
            #expect(a.covers(limited))
            #expect(a.covers(limited.limited(to: Set(Permission.allCases.shuffled().prefix(10)))))
            for permission in Permission.allCases where !permission.isOpen && !some.contains(permission) {
                #expect(!limited.may(permission))
            }
            if a.covers(b) { #expect(a.union(b) == a) }
        }
    }
}
