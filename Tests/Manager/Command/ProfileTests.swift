import Foundation
import RoostClient
import Synchronization
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
    static let site = Site(
        endpoint: "https://h:7400", authorityPath: nil, credentials: .kept(access: "old"), profileName: "default")

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
        let trades = Mutex(0)
        let exchange = TokenExchange { fields in
            trades.withLock { $0 += 1 }
            await Task.yield()
            #expect(fields.contains { $0 == ("refresh_token", "r1") })
            return OAuthTokens(accessToken: "new", refreshToken: "r2")
        }
        try await withThrowingTaskGroup { group in
            for _ in 0..<8 {
                group.addTask {
                    let tokens = Tokens(Self.site, file: folder.file)
                    let token = try await tokens.renewed(after: "old", exchange)
                    #expect(token == "new")
                    #expect(tokens.current == "new")
                }
            }
            try await group.waitForAll()
        }
        #expect(trades.withLock { $0 } == 1)
        #expect(try folder.file.read()["default"]?.refreshToken == "r2")
    }

    @Test("what is kept of one site is sent to no other, though the profile changes meanwhile")
    func otherSite() async throws {
        let folder = ScratchFolder()
        let other = Profile(endpoint: "https://other:7400", accessToken: "secret", refreshToken: "r9")
        try await folder.file.locked { file in try file.write(["default": other]) }
        let unasked = TokenExchange { _ in
            Issue.record("a refresh token was sent to another site")
            return OAuthTokens(accessToken: "x")
        }
        let tokens = Tokens(Self.site, file: folder.file)
        #expect(try await tokens.renewed(after: "old", unasked) == nil)
        #expect(tokens.current == "old")
        await #expect(throws: Failure.self) { _ = try await LogoutCommand.forget(Self.site, in: folder.file) }
        #expect(try folder.file.read()["default"] == other)
        let own = Site(endpoint: other.endpoint, credentials: .kept(access: nil), profileName: "default")
        #expect(try await LogoutCommand.forget(own, in: folder.file) == "r9")
        #expect(try folder.file.read()["default"]?.isSignedIn == false)
    }

    @Test("a command that is interrupted while it renews keeps what came for the refresh token")
    func interrupted() async throws {
        let folder = ScratchFolder()
        try await folder.file.locked { file in try file.write(["default": Self.profile]) }
        let (began, beginning) = AsyncStream<Void>.makeStream()
        let (go, going) = AsyncStream<Void>.makeStream()
        let exchange = TokenExchange { _ in
            beginning.finish()
            for await _ in go {}
            try Task.checkCancellation()
            return OAuthTokens(accessToken: "new", refreshToken: "r2")
        }
        let command = Task { try await Tokens(Self.site, file: folder.file).renewed(after: "old", exchange) }
        for await _ in began {}
        command.cancel()
        going.finish()
        _ = await command.result
        #expect(try folder.file.read()["default"]?.refreshToken == "r2")
    }

    @Test("a session that was ended is not renewed, and a manager that is away is not taken for that")
    func ended() async throws {
        let folder = ScratchFolder()
        try await folder.file.locked { file in try file.write(["default": Self.profile]) }
        let tokens = Tokens(Self.site, file: folder.file)
        let refused = TokenExchange { _ in
            throw ClientError.problem(Problem(status: 400, body: Array(#"{"error":"invalid_grant"}"#.utf8)))
        }
        #expect(try await tokens.renewed(after: "old", refused) == nil)
        let away = TokenExchange { _ in throw ClientError.connection(.refused, .init(endpoint: "https://h:7400")) }
        await #expect(throws: ClientError.self) { try await tokens.renewed(after: "old", away) }
        #expect(try folder.file.read()["default"] == Self.profile)
    }

    @Test("an API key has a new token whenever one is needed, and no refresh token")
    func apiKey() async throws {
        let folder = ScratchFolder()
        let profile = Profile(endpoint: "https://h:7400", accessToken: "old", apiKey: .init(id: "k", secret: "s"))
        try await folder.file.locked { file in try file.write(["default": profile]) }
        let exchange = TokenExchange { fields in
            #expect(fields.contains { $0 == ("client_secret", "s") } && fields.contains { $0 == ("client_id", "k") })
            return OAuthTokens(accessToken: "new")
        }
        #expect(try await Tokens(Self.site, file: folder.file).renewed(after: "old", exchange) == "new")
        #expect(try folder.file.read()["default"]?.accessToken == "new")
    }

    @Test("profiles as the first version wrote them are read, and the current one is used")
    func formats() async throws {
        let folder = ScratchFolder()
        try FileManager.default.createDirectory(atPath: folder.path + "/roost", withIntermediateDirectories: true)
        let old = #"{"default":{"endpoint":"https://h:7400","access_token":"a"},"b":{"endpoint":"https://b:1"}}"#
        try Data(old.utf8).write(to: URL(fileURLWithPath: folder.file.path))
        var profiles = try folder.file.read()
        #expect(profiles.current == nil && profiles["default"]?.accessToken == "a")
        profiles.current = "b"
        let written = profiles
        try await folder.file.locked { file in try file.write(written) }
        #expect(try folder.file.read() == written)
        #expect(try Site.resolve(profile: nil, environment: [:], file: folder.file).endpoint == "https://b:1")
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
