import Foundation
import Testing

/// Secrets are planted in every place that takes one, and then searched for in everything that the manager says: its log
/// at its loudest, answers, events, metrics, and what the host shows of the process.
@Suite("The manager keeps secrets (SEC-14)", .timeLimit(.minutes(3)))
struct SecretsTests {
    @Test(
        "planted secrets are in no log, answer, event, metric or process table, and in no file that needs only a hash")
    func canaries() async throws {
        let manager = try await ManagerProcess.start()
        defer { manager.remove() }
        let admin = try manager.file("admin-password").trimmingCharacters(in: .whitespacesAndNewlines)
        #expect(admin.count >= 16 && manager.greeting.components(separatedBy: admin).count == 2, "printed once")

        var secrets = Secrets(admin: admin)
        let said = try await secrets.plant(in: manager)
        let outputs =
            said + [
                ("process table", try manager.processTable()),
                ("metrics", try await manager.send("GET", "/metrics").body),
                ("document", try await manager.send("GET", "/v1/openapi.json").body),
            ]
        let events = try #require(said.first { $0.0 == "events" }?.1)
        for word in ["user.created", "user.changed", #""password":"changed""#, "user.signed_in", "node.token_created"] {
            #expect(events.contains(word), "the log of events tells of \(word)")
        }
        #expect(outputs.contains { $0.0 == "metrics" && $0.1.contains("roost_api_requests_total") })
        let record = manager.record()
        #expect(record.count > 4096)
        for (what, secret) in secrets.hashed {
            #expect(record.range(of: Data(secret.utf8)) == nil, "the record keeps \(what)")
        }

        let ended = try await manager.stop()
        #expect(ended.status == 0 && ended.after < .seconds(5))
        let log = try manager.log
        #expect(log.contains("message=request") && log.contains("route=/v1/users"), "the log is that of this run")
        for (what, secret) in try secrets.hashed + secrets.kept + Secrets.files(of: manager) {
            #expect(secret.count >= 12, "\(what) is too short to be searched for")
            #expect(!log.contains(secret), "the log tells \(what)")
            for (where_, text) in outputs { #expect(!text.contains(secret), "\(where_) tells \(what)") }
        }
    }
}

/// What is planted.
private struct Secrets {
    /// What the record needs to know by its hash alone.
    var hashed: [(String, String)] = []
    /// What the record has to keep, such as what a guest is to be told.
    var kept: [(String, String)] = []

    private let wrong = "canary-wrong-password-1"
    private let fresh = "canary-fresh-password-2"
    private let userData = Data("#cloud-config canary-user-data-3".utf8).base64EncodedString()
    private let privateKey = "canaryPrivateKeyb3BlbnNzaC1rZXktdjE4"
    private let broken = "canary-in-broken-json-5"
    private let admin: String

    init(admin: String) {
        self.admin = admin
        hashed = [
            ("the admin's password", admin), ("a wrong password", wrong), ("a new password", fresh),
            ("a private key", privateKey), ("a broken body", broken),
        ]
        kept = [("user data", userData), ("user data, decoded", "canary-user-data-3")]
    }

    /// Uses each secret where it belongs and where it does not.
    ///
    /// - Returns: every answer but those whose purpose is to hand out a secret.
    mutating func plant(in manager: ManagerProcess) async throws -> [(String, String)] {
        let tokens = try await manager.form("/oauth/token", "grant_type=password&username=admin&password=\(admin)")
        let access = try #require(tokens["access_token"], "\(tokens)")
        let refresh = try #require(tokens["refresh_token"])
        let renewed = try await manager.form("/oauth/token", "grant_type=refresh_token&refresh_token=\(refresh)")
        let last = try #require(renewed["refresh_token"])
        let join = try await manager.send(
            "POST", "/v1/nodes/tokens", token: access, headers: ["Idempotency-Key": "join-1"])
        let secret = try #require(join["token"], "\(join)")
        hashed += [
            ("an access token", access), ("a refresh token", refresh), ("its successor", last),
            ("a join token", secret),
        ]
        var said: [(String, String)] = []
        for (method, path, body, type) in requests(access: access, refresh: refresh) {
            let answer = try await manager.send(method, path, body, type: type, token: access)
            #expect(answer.status != 500, "\(method) \(path): \(answer.body)")
            said.append(("\(method) \(path.prefix(24)) (\(answer.status))", answer.headers + answer.body))
        }
        let again = try await manager.send(
            "POST", "/v1/nodes/tokens", token: access, headers: ["Idempotency-Key": "join-1"])
        said.append(("a repeated request for a join token", again.headers + again.body))
        for header in [
            "Bearer \(access)x", "Basic \(Data("admin:\(admin)".utf8).base64EncodedString())", "Bearer \(secret)",
        ] {
            let answer = try await manager.send("GET", "/v1/users/me", headers: ["Authorization": header])
            #expect(answer.status == 401)
            said.append(("a wrong Authorization", answer.headers + answer.body))
        }
        for list in ["events?limit=1000", "operations", "users", "keypairs", "instances", "nodes", "images", "usage"] {
            let answer = try await manager.send("GET", "/v1/\(list)", token: access)
            #expect(answer.status == 200)
            said.append((String(list.prefix { $0 != "?" }), answer.headers + answer.body))
        }
        return said
    }

    private func requests(access: String, refresh: String) -> [(String, String, String?, String)] {
        let (json, form) = ("application/json", "application/x-www-form-urlencoded")
        return [
            ("POST", "/oauth/token", "grant_type=password&username=admin&password=\(wrong)", form),
            ("POST", "/oauth/token", "grant_type=password&username=\(wrong)&password=\(wrong)&zz=\(wrong)", form),
            // Used already: its family ends, and the log and an event tell so.
            ("POST", "/oauth/token", "grant_type=refresh_token&refresh_token=\(refresh)", form),
            ("POST", "/oauth/revoke", "token=\(refresh)", form),
            ("POST", "/v1/users", #"{"name":"eve","password":"\#(fresh)"}"#, json),
            ("POST", "/v1/users", #"{"name":"eve","password":"\#(fresh)"}"#, json),
            ("POST", "/v1/users", #"{"name":"eva","password":["\#(fresh)"]}"#, json),
            ("POST", "/v1/users", #"{"name":"\#(fresh)\n","password":"x"}"#, json),
            ("POST", "/v1/users", #"{"name":"eva","password":"\#(broken)"#, json),
            ("POST", "/v1/users", #"{"name":"eva","password":"\#(fresh)"}"#, "text/\(fresh)"),
            ("PATCH", "/v1/users/me", #"{"password":"\#(fresh)","current_password":"\#(wrong)"}"#, json),
            ("PATCH", "/v1/users/eve", #"{"password":"\#(fresh)"}"#, json),
            (
                "POST", "/v1/keypairs",
                #"{"name":"k","public_key":"-----BEGIN OPENSSH PRIVATE KEY-----\n\#(privateKey)"}"#, json
            ),
            ("POST", "/v1/keypairs", #"{"name":"k","public_key":"ssh-ed25519 \#(privateKey)"}"#, json),
            (
                "POST", "/v1/instances",
                #"{"name":"i","flavor":"nosuch","image":"nosuch","user_data":"\#(userData)"}"#, json
            ),
            ("POST", "/v1/instances", #"{"name":"i","flavor":"f","image":"i","user_data":"\#(userData)!"}"#, json),
            ("GET", "/v1/users?limit=\(wrong)", nil, json),
            ("GET", "/v1/users?access_token=\(access)", nil, json),
            ("GET", "/nothing/\(access)", nil, json),
        ]
    }

    /// Secrets of the site itself, of which one line is enough to know them by.
    static func files(of manager: ManagerProcess) throws -> [(String, String)] {
        let names = try FileManager.default.contentsOfDirectory(atPath: manager.folder + "/data")
        return try names.filter { $0.contains("key") || $0.contains("secret") }.compactMap { name in
            let line = try manager.file(name).split(separator: "\n").first { !$0.hasPrefix("-----") }
            return line.map { (name, String($0)) }
        }
    }
}
