import Foundation
import Testing

@testable import ManagerCommand

/// A folder that is gone after the test.
final class ScratchFolder: Sendable {
    let path = FileManager.default.temporaryDirectory.path + "/roost-command-\(UUID().uuidString)"
    var file: ProfileFile { ProfileFile(path: path + "/roost/config.json") }
    deinit { try? FileManager.default.removeItem(atPath: path) }
}

@Suite("Profiles and tokens")
struct ProfileTests {
    static let profile = Profile(
        endpoint: "https://h:7400", authorityPath: "/ca.pem", accessToken: "old", refreshToken: "r1")

    @Test("are kept where nobody else reads them")
    func permissions() async throws {
        let folder = ScratchFolder()
        try await folder.file.locked { file in try file.write(["default": Self.profile]) }
        #expect(try folder.file.read() == ["default": Self.profile])
        func mode(_ path: String) throws -> Int? {
            (try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? NSNumber)?.intValue
        }
        #expect(try mode(folder.file.path) == 0o600)
        #expect(try mode(folder.file.path + ".lock") == 0o600)
        #expect(try mode(folder.path + "/roost") == 0o700)
    }

    @Test("become private again when they are written")
    func tightened() async throws {
        let folder = ScratchFolder()
        try await folder.file.locked { file in try file.write(["default": Self.profile]) }
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: folder.file.path)
        try await folder.file.locked { file in try file.write(["default": Self.profile]) }
        let mode = try FileManager.default.attributesOfItem(atPath: folder.file.path)[.posixPermissions] as? NSNumber
        #expect(mode?.intValue == 0o600)
    }

    @Test("that are garbage are refused, not overwritten")
    func garbage() throws {
        let folder = ScratchFolder()
        try FileManager.default.createDirectory(atPath: folder.path + "/roost", withIntermediateDirectories: true)
        try Data("{".utf8).write(to: URL(fileURLWithPath: folder.file.path))
        #expect(throws: Failure.self) { _ = try folder.file.read() }
    }

    @Test("the environment goes before the profile, and tokens go only to their own site")
    func resolution() async throws {
        let folder = ScratchFolder()
        let file = folder.file
        try await file.locked { file in
            try file.write(["default": Self.profile, "other": Profile(endpoint: "https://o:1")])
        }
        func site(_ environment: [String: String], profile: String? = nil) throws -> Site {
            try Site.resolve(profile: profile, environment: environment, file: file)
        }
        #expect(try site([:]).credentials == .kept(access: "old"))
        #expect(try site([:]).authorityPath == "/ca.pem")
        #expect(try site(["ROOST_ENDPOINT": "https://h:7400/"]).credentials == .kept(access: "old"))
        #expect(try site(["ROOST_ENDPOINT": "https://evil:7400"]).credentials == Site.Credentials.none)
        #expect(try site(["ROOST_TOKEN": "t"]).credentials == .fixed("t"))
        #expect(try site(["ROOST_PROFILE": "other"]).endpoint == "https://o:1")
        #expect(try site(["ROOST_PROFILE": "other"], profile: "default").endpoint == "https://h:7400")
        #expect(try site([:], profile: "new").endpoint == Site.usualEndpoint)
    }

    @Test(
        "addresses in the clear, and what is no address, are refused",
        arguments: ["http://h:7400", "h:7400", "https://", "https://h/path", "https://u@h", "ftp://h", "https://h?x=1"])
    func endpoints(text: String) {
        #expect(throws: Failure.self) { _ = try Site.checked(text) }
    }

    @Test("of commands that run at once only one trades the refresh token")
    func renewal() async throws {
        let folder = ScratchFolder()
        try await folder.file.locked { file in try file.write(["default": Self.profile]) }
        let site = Site(
            endpoint: "https://h:7400", authorityPath: nil, credentials: .kept(access: "old"), profileName: "default")
        let trades = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    var count = 0
                    let tokens = Tokens(site, file: folder.file)
                    let isNew = try? await tokens.renew { refresh in
                        count += 1
                        await Task.yield()
                        return refresh == "r1" ? ["access_token": .string("new"), "refresh_token": .string("r2")] : [:]
                    }
                    #expect(isNew == true)
                    #expect(tokens.current == "new")
                    return count
                }
            }
            return await group.reduce(0, +)
        }
        #expect(trades == 1)
        #expect(try folder.file.read()["default"]?.refreshToken == "r2")
    }

    @Test("a session that was ended is not renewed, and a manager that is away is not taken for that")
    func ended() async throws {
        let folder = ScratchFolder()
        try await folder.file.locked { file in try file.write(["default": Self.profile]) }
        let site = Site(
            endpoint: "https://h:7400", authorityPath: nil, credentials: .kept(access: "old"), profileName: "default")
        let tokens = Tokens(site, file: folder.file)
        #expect(
            try await tokens.renew { _ in throw Failure("no", kind: .refused(status: 400, code: "invalid_grant")) }
                == false)
        await #expect(throws: Failure.self) {
            try await tokens.renew { _ in throw Failure("away", kind: .unreachable) }
        }
        #expect(try folder.file.read()["default"] == Self.profile)
    }

    @Test("a password file's first line is the password")
    func password() {
        #expect(Password.firstLine("secret with spaces \nmore\n") == "secret with spaces ")
        #expect(Password.firstLine("\nsecret\n") == nil)
        #expect(Password.firstLine("") == nil)
    }

    @Test("a private key is not sent for a public one")
    func keys() throws {
        let folder = ScratchFolder()
        try FileManager.default.createDirectory(atPath: folder.path + "/.ssh", withIntermediateDirectories: true)
        try Data("ssh-ed25519 AAAA me\n".utf8).write(to: URL(fileURLWithPath: folder.path + "/.ssh/id_ed25519.pub"))
        try Data("-----BEGIN OPENSSH PRIVATE KEY-----\n".utf8).write(to: URL(fileURLWithPath: folder.path + "/key"))
        #expect(try KeyCommand.Create.key(nil, home: folder.path) == "ssh-ed25519 AAAA me")
        #expect(throws: Failure.self) { _ = try KeyCommand.Create.key(folder.path + "/key", home: "") }
        #expect(throws: Failure.self) { _ = try KeyCommand.Create.key(nil, home: "/nowhere") }
    }
}
