import Foundation
import HTTPTypes
import ManagerIdentity
import ManagerModel
import ManagerStore
import ProtocolModel
import Synchronization
import Testing

@testable import ManagerAPI

@Suite("Users and keys over HTTP")
struct UserRouteTests {
    @Test("a superuser creates, changes and deletes a user")
    func life() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            let made = try await client.post(
                "/v1/users", ["name": "eve", "password": "a good password", "email": "eve@site.example"], as: "root")
            #expect(made.status == 201, "\(made.text)")
            #expect(made.json["role"] == "user")
            let location = try #require(made.header("Location"))
            #expect(try await client.get(location, as: "root").json == made.json)
            let taken = try await client.post("/v1/users", ["name": "eve", "password": "a good password"], as: "root")
            #expect(taken.status == 409 && taken.code == "name_taken")
            let short = try await client.post("/v1/users", ["name": "eva", "password": "short"], as: "root")
            #expect(short.status == 400)
            #expect(short.json["errors"]?.array?.first?["pointer"] == "/password")
            let changed = try await client.patch(
                "/v1/users/eve", ["role": "superuser", "enabled": false, "email": nil], as: "root")
            #expect(changed.json["role"] == "superuser")
            #expect(changed.json["enabled"] == false)
            #expect(changed.json["email"] == .null)
            #expect(try await client.delete("/v1/users/eve", as: "root").status == 204)
            #expect(try await client.get("/v1/users/eve", as: "root").status == 404)
        }
    }

    @Test("a user changes their own password with the current one, and only what is theirs")
    func own() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            let reserved = try await client.post(
                "/v1/users", ["name": "me", "password": "a good password"], as: "root")
            #expect(reserved.status == 400)
            let without = try await client.patch("/v1/users/ann", ["password": "another password"], as: "ann")
            #expect(without.status == 400)
            let wrong = try await client.patch(
                "/v1/users/ann", ["password": "another password", "current_password": "wrong"], as: "ann")
            #expect(wrong.status == 403)
            #expect(try await client.patch("/v1/users/ann", ["role": "superuser"], as: "ann").status == 403)
            #expect(try await client.patch("/v1/users/ann", ["enabled": true], as: "ann").status == 403)
            #expect(try await client.patch("/v1/users/bob", ["email": "x@y.example"], as: "ann").status == 404)
            // Whoever reads the address's mail could set a new password.
            let bare = try await client.patch("/v1/users/ann", ["email": "ann@site.example"], as: "ann")
            #expect(bare.status == 400 && bare.json["errors"]?.array?.first?["pointer"] == "/current_password")
            let email = try await client.patch(
                "/v1/users/ann", ["email": "ann@site.example", "current_password": .string(TestSite.password)],
                as: "ann")
            #expect(email.json["email"] == "ann@site.example")
            let right = try await client.patch(
                "/v1/users/ann", ["password": "another password", "current_password": .string(TestSite.password)],
                as: "ann")
            #expect(right.status == 200, "\(right.text)")
            // The old token fell with the old password.
            #expect(try await client.get("/v1/users/me", as: "ann").status == 401)
        }
    }

    @Test("'me' is whoever asks: they read themselves, and change their address and password")
    func myself() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            let me = try await client.get("/v1/users/me", as: "ann")
            #expect(me.json["name"] == "ann")
            #expect(try await client.get("/v1/users/ann", as: "ann").json == me.json)
            let changed = try await client.patch(
                "/v1/users/me", ["email": "ann@site.example", "current_password": .string(TestSite.password)],
                as: "ann",
                headers: ["If-Match": try #require(me.header("ETag"))])
            #expect(changed.status == 200 && changed.json["email"] == "ann@site.example", "\(changed.text)")
            let stale = try await client.patch(
                "/v1/users/me", ["full_name": "Ann"], as: "ann", headers: ["If-Match": me.header("ETag") ?? ""])
            #expect(stale.status == 412)
            #expect(try await client.patch("/v1/users/me", ["role": "superuser"], as: "ann").status == 403)
            #expect(try await client.patch("/v1/users/me", ["enabled": false], as: "ann").status == 403)
            let without = try await client.patch("/v1/users/me", ["password": "another password"], as: "ann")
            #expect(without.status == 400)
            #expect(without.json["errors"]?.array?.first?["pointer"] == "/current_password")
            let right = try await client.patch(
                "/v1/users/me", ["password": "another password", "current_password": .string(TestSite.password)],
                as: "ann")
            #expect(right.status == 200, "\(right.text)")
            #expect(try await client.get("/v1/users/me", as: "ann").status == 401)
            let form = "grant_type=password&username=ann&password="
            #expect(try await client.form("/oauth/token", form + "another+password").status == 200)
            #expect(try await client.form("/oauth/token", form + "correct+horse").status == 400)
            // A superuser, too, needs their own password for that, and means themselves.
            #expect(try await client.patch("/v1/users/me", ["password": "another password"], as: "root").status == 400)
            #expect(try await client.get("/v1/users/me", as: "root").json["name"] == "root")
            #expect(try await client.get("/v1/instances?owner=me", as: "root").status == 200)
        }
    }

    @Test("the last superuser stays")
    func last() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            #expect(try await client.delete("/v1/users/root", as: "root").status == 409)
            #expect(try await client.patch("/v1/users/root", ["role": "user"], as: "root").status == 409)
            #expect(try await client.patch("/v1/users/root", ["enabled": false], as: "root").status == 409)
            #expect(try await client.patch("/v1/users/ann", ["role": "superuser"], as: "root").status == 200)
            #expect(try await client.patch("/v1/users/root", ["role": "user"], as: "root").status == 200)
            #expect(try await client.get("/v1/nodes", as: "root").status == 403, "a changed role counts at once")
        }
    }

    @Test("keys are checked, named once, and not taken from others")
    func keys() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            let body: JSONValue = ["name": "laptop", "public_key": .string(Fixtures.ed25519)]
            let made = try await client.post("/v1/keypairs", body, as: "ann")
            #expect(made.status == 201, "\(made.text)")
            #expect(made.json["fingerprint"] == "SHA256:velOmTKZl+5wXvrV1LoiOpywlUkysWhKdrU+tSg96UM")
            #expect(try await client.post("/v1/keypairs", body, as: "ann").code == "name_taken")
            #expect(try await client.post("/v1/keypairs", body, as: "bob").status == 201)
            let bad = try await client.post(
                "/v1/keypairs", ["name": "x", "public_key": "-----BEGIN OPENSSH PRIVATE KEY-----"], as: "ann")
            #expect(bad.status == 400)
            #expect(bad.json["detail"]?.string?.contains("private key") == true)
            #expect(try await client.get("/v1/keypairs/laptop", as: "root").code == "ambiguous_name")
            let id = try #require(made.json["id"]?.string)
            #expect(try await client.delete("/v1/keypairs/\(id)", as: "bob").status == 404)
            #expect(try await client.delete("/v1/keypairs/laptop", as: "ann").status == 204)
            #expect(try await client.get("/v1/keypairs/\(id)", as: "ann").status == 404)
        }
    }
}

@Suite("Instances, images and nodes over HTTP")
struct ResourceRouteTests {
    private static let creation: JSONValue = ["name": "db", "flavor": "small", "image": "debian"]

    @Test("an instance is created, shown, stopped, changed and deleted")
    func instance() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            let made = try await client.post("/v1/instances", Self.creation, as: "bob")
            #expect(made.status == 202, "\(made.text)")
            #expect(SchemaCheck.faults(of: made.json, in: .object(InstanceResource.schema)) == [])
            #expect(made.json["status"] == "QUEUED")
            #expect(made.json["owner"] == "bob")
            let operation = try #require(made.header("Operation-Location"))
            #expect(operation == "/v1/operations/\(made.json["operation_id"]?.string ?? "")")
            #expect(try await client.get(operation, as: "bob").json["kind"] == "instance.create")
            #expect(try await client.get(operation, as: "ann").status == 404)

            let conflict = try await client.send(.post, "/v1/instances/db/stop", as: "bob")
            #expect(conflict.status == 409 && conflict.code == "conflict")
            #expect(conflict.json["operation_id"] == made.json["operation_id"])
            let forced = try await client.post("/v1/instances/db/stop", ["force": true], as: "bob")
            #expect(forced.status == 202, "\(forced.text)")
            #expect(forced.json["desired_state"] == "stopped")

            let renamed = try await client.patch(
                "/v1/instances/db", ["name": "db2", "metadata": ["k": "v"]], as: "bob")
            #expect(renamed.json["name"] == "db2")
            #expect(renamed.json["metadata"] == ["k": "v"])
            let gone = try await client.delete("/v1/instances/db2", as: "bob")
            #expect(gone.status == 202)
            #expect(gone.json["status"] == "DELETING")
            // The first answer may have been lost.
            #expect(try await client.delete("/v1/instances/db2", as: "bob").status == 202)
            #expect(try await client.send(.post, "/v1/instances/db2/console", as: "bob").status == 501)
        }
    }

    @Test("several instances are created together or not at all")
    func several() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            let three = try await client.post(
                "/v1/instances", ["name": "w", "flavor": "small", "image": "debian", "count": 3], as: "bob")
            #expect(three.status == 202, "\(three.text)")
            #expect(three.json["items"]?.array?.compactMap { $0["name"]?.string } == ["w-1", "w-2", "w-3"])
            let document = try await client.get("/v1/openapi.json").json
            let answers = document["paths"]?["/v1/instances"]?["post"]?["responses"]?["202"]?["content"]
            let shapes = answers?["application/json"]?["schema"]?["anyOf"]?.array ?? []
            #expect(answers?.members?.count == 1 && shapes.count == 2, "the document tells both answers")
            #expect(shapes.last?["required"] == ["items", "next"] && three.json["next"] == .null)
            for item in three.json["items"]?.array ?? [] {
                #expect(SchemaCheck.faults(of: item, in: .object(InstanceResource.schema)) == [])
            }
            let many = try await client.post(
                "/v1/instances", ["name": "x", "flavor": "small", "image": "debian", "count": 1000], as: "bob")
            #expect(many.status == 409 && many.code == "no_capacity", "\(many.text)")
            #expect(many.json["removed_by"]?.members?.isEmpty == false)
            let left = try await client.get("/v1/instances", as: "bob")
            #expect(left.json["items"]?.array?.count == 3)
        }
    }

    @Test("what does not fit together is refused with its code")
    func misfits() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        let cases: [(JSONValue, Int, String)] = [
            (["name": "a", "flavor": "none", "image": "debian"], 404, "not_found"),
            (["name": "a", "flavor": "small", "image": "secret-image"], 404, "not_found"),
            (["name": "a", "flavor": "small", "image": "debian", "key_name": "laptop"], 404, "not_found"),
            (["name": "a", "flavor": "small", "image": "debian", "node": "cn1"], 403, "forbidden"),
            (["name": "a", "flavor": "small", "image": "debian", "user_data": "not base64!"], 400, "invalid_request"),
            (["name": "a", "flavor": "small", "image": "debian", "host_name": "UPPER"], 400, "invalid_request"),
            (["name": "a", "flavor": "small", "image": "debian", "host_name": "-x"], 400, "invalid_request"),
        ]
        try await site.test { client async throws in
            for (body, status, code) in cases {
                let reply = try await client.post("/v1/instances", body, as: "bob")
                #expect(reply.status == status && reply.code == code, "\(reply.text)")
            }
        }
    }

    @Test("a repeated request with the same key is done once")
    func idempotency() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            let key = ["Idempotency-Key": "order-1"]
            let first = try await client.post("/v1/instances", Self.creation, as: "bob", headers: key)
            let second = try await client.post("/v1/instances", Self.creation, as: "bob", headers: key)
            #expect(first.status == 202)
            #expect(second.status == 202)
            #expect(first.bytes == second.bytes)
            #expect(first.header("Idempotent-Replay") == nil)
            #expect(second.header("Idempotent-Replay") == "true")
            #expect(second.header("Operation-Location") == first.header("Operation-Location"))
            let other = try await client.post(
                "/v1/instances", ["name": "other", "flavor": "small", "image": "debian"], as: "bob", headers: key)
            #expect(other.status == 422 && other.code == "idempotency_key_reused")
            // Keys are each user's own.
            #expect(
                try await client.post("/v1/instances", Self.creation, as: "ann", headers: key).header(
                    "Idempotent-Replay") == nil)
            // What was refused is not kept: the cause may be gone the next time.
            let refused = ["Idempotency-Key": "order-2"]
            let bad: JSONValue = ["name": "a", "flavor": "none", "image": "debian"]
            for _ in 0..<2 {
                let reply = try await client.post("/v1/instances", bad, as: "bob", headers: refused)
                #expect(reply.status == 404 && reply.header("Idempotent-Replay") == nil)
            }
            for bad in ["a b", "é", String(repeating: "x", count: 256)] {
                let reply = try await client.post(
                    "/v1/instances", Self.creation, as: "bob", headers: ["Idempotency-Key": bad])
                #expect(reply.status == 400, "\(bad)")
            }
        }
    }

    @Test("many at once with one key: one instance")
    func idempotencyRace() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            let replies = try await withThrowingTaskGroup(of: Reply.self) { group in
                for _ in 0..<16 {
                    group.addTask {
                        try await client.post(
                            "/v1/instances", Self.creation, as: "bob", headers: ["Idempotency-Key": "k"])
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(Set(replies.map(\.text)).count == 1)
            #expect(replies.filter { $0.header("Idempotent-Replay") == nil }.count == 1)
            #expect(try await client.get("/v1/instances", as: "bob").json["items"]?.array?.count == 1)
        }
    }

    @Test("a change of what has changed meanwhile is refused")
    func conditional() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        let path = "/v1/instances/\(fixtures.instance.id)"
        try await site.test { client async throws in
            let tag = try #require(try await client.get(path, as: "ann").header("ETag"))
            #expect(try await client.get(path, as: "ann", headers: ["If-None-Match": tag]).status == 304)
            let first = try await client.patch(path, ["name": "new"], as: "ann", headers: ["If-Match": tag])
            #expect(first.status == 200)
            let stale = try await client.patch(path, ["name": "newer"], as: "ann", headers: ["If-Match": tag])
            #expect(stale.status == 412 && stale.code == "precondition_failed")
            #expect(try await client.delete(path, as: "ann", headers: ["If-Match": "W/\(tag)"]).status == 412)
            #expect(try await client.get(path, as: "ann").json["name"] == "new")
            let fresh = try #require(first.header("ETag"))
            // Reading compares weakly: a proxy that compresses makes tags weak.
            let known = try await client.get(path, as: "ann", headers: ["If-None-Match": "\"x\", W/\(fresh)"])
            #expect(known.status == 304)
            #expect(try await client.delete(path, as: "ann", headers: ["If-Match": "\"x\", \(fresh)"]).status == 202)
        }
    }

    @Test("pages hold everything once")
    func pages() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            for index in 0..<7 {
                let body: JSONValue = ["name": .string("f\(index)"), "vcpus": 1, "ram_mib": 512, "disk_gib": 1]
                #expect(try await client.post("/v1/flavors", body, as: "root").status == 201)
            }
            var seen: [String] = []
            var path: String? = "/v1/flavors?limit=3"
            while let next = path {
                let page = try await client.get(next, as: "bob")
                #expect(page.status == 200)
                seen += page.json["items"]?.array?.compactMap { $0["id"]?.string } ?? []
                path = page.json["next"]?.string.map { "/v1/flavors?limit=3&after=\($0)" }
            }
            #expect(seen.count == 8)
            #expect(Set(seen).count == 8)
            let cursor = try #require(try await client.get("/v1/flavors?limit=1", as: "bob").json["next"]?.string)
            #expect(try await client.get("/v1/images?after=\(cursor)", as: "bob").status == 422)
        }
    }

    @Test("an image takes its file as a stream, and once")
    func upload() async throws {
        let site = try await TestSite()
        let octets = "application/octet-stream"
        try await site.test { client async throws in
            let made = try await client.post("/v1/images", ["name": "mine", "format": "qcow2"], as: "ann")
            #expect(made.status == 201, "\(made.text)")
            #expect(made.json["visibility"] == "private")
            #expect(made.json["status"] == "queued")
            #expect(
                try await client.post("/v1/images", ["name": "x", "visibility": "public"], as: "ann").status == 403)
            #expect(try await client.post("/v1/images", ["name": "x"], as: "root").json["visibility"] == "public")
            let file = (0..<100_000).map { UInt8(truncatingIfNeeded: $0) }
            #expect(try await client.send(.put, "/v1/images/mine/file", as: "ann", body: file).status == 415)
            #expect(
                try await client.send(.put, "/v1/images/mine/file", as: "bob", body: file, type: octets).status == 404)
            #expect(try await client.send(.put, "/v1/images/x/file", as: "ann", body: file, type: octets).status == 403)
            let sent = try await client.send(.put, "/v1/images/mine/file", as: "ann", body: file, type: octets)
            #expect(sent.status == 202, "\(sent.text)")
            #expect(sent.header("Operation-Location") != nil)
            let id = try #require(made.json["id"]?.string.flatMap { ImageID($0) })
            site.uploads.state.withLock { state in
                #expect(state.bytes[id] == file)
                #expect(state.finished == [id])
            }
            #expect(
                try await client.send(.put, "/v1/images/mine/file", as: "ann", body: file, type: octets).status == 409)
        }
    }

    @Test("a rejected or empty file leaves the image in error with the reason")
    func rejected() async throws {
        let site = try await TestSite()
        let octets = "application/octet-stream"
        try await site.test { client async throws in
            for name in ["bad", "empty"] { _ = try await client.post("/v1/images", ["name": .string(name)], as: "ann") }
            site.uploads.state.withLock {
                $0.refusal = Refusal(.imageRejected, "the image names a backing file", detailCode: "image_backing_file")
            }
            let bad = try await client.send(.put, "/v1/images/bad/file", as: "ann", body: [1], type: octets)
            #expect(bad.status == 422 && bad.code == "image_backing_file", "\(bad.text)")
            let shown = try await client.get("/v1/images/bad", as: "ann")
            #expect(shown.json["status"] == "error")
            #expect(shown.json["status_reason"] == "The image names a backing file.")
            let operation = try #require(shown.json["operation_id"]?.string)
            let failed = try await client.get("/v1/operations/\(operation)", as: "ann")
            #expect(failed.json["error"]?["code"] == "image_backing_file")
            #expect(
                try await client.send(.put, "/v1/images/empty/file", as: "ann", body: [], type: octets).status == 400)
            #expect(site.uploads.state.withLock { $0.cancelled.count } == 1)
        }
    }

    @Test("a file is gone on with where it ends: in parts, after a cut, and by nobody else")
    func resumedUpload() async throws {
        let site = try await TestSite()
        let octets = "application/octet-stream"
        let file = (0..<10_000).map { UInt8(truncatingIfNeeded: $0) }
        try await site.test { client async throws in
            let made = try await client.post("/v1/images", ["name": "mine", "size_bytes": 10_000], as: "ann")
            let id = try #require(made.json["id"]?.string.flatMap { ImageID($0) })
            @Sendable func send(
                _ bytes: ArraySlice<UInt8>, at offset: String?, complete: String? = "?0", as user: String = "ann",
                length: String? = nil
            ) async throws -> Reply {
                var headers: [String: String] = [:]
                headers["Upload-Offset"] = offset
                headers["Upload-Complete"] = complete
                headers["Upload-Length"] = length
                return try await client.send(
                    .patch, "/v1/images/mine/file", as: user, body: Array(bytes), type: octets, headers: headers)
            }
            // Nothing has come: it begins at its start.
            let early = try await send(file[5..<9], at: "5")
            #expect(early.status == 409 && early.code == "image_upload_offset", "\(early.text)")
            #expect(early.header("Upload-Offset") == "0")
            #expect(try await client.get("/v1/images/mine", as: "ann").json["status"] == "queued")
            let first = try await send(file[..<4000], at: "0")
            #expect(first.status == 204 && first.header("Upload-Offset") == "4000")
            let shown = try await client.get("/v1/images/mine", as: "ann").json
            #expect(shown["status"] == "saving" && shown["upload_bytes"] == 4000 && shown["progress"] == 16)
            #expect(shown["status_reason"] == "waiting for the rest of the file")
            for (method, user, status) in [
                (HTTPRequest.Method.get, "ann", 200), (.head, "ann", 200), (.get, "bob", 404),
            ] {
                let standing = try await client.send(method, "/v1/images/mine/file", as: user)
                #expect(standing.status == status)
                guard status == 200 else { continue }
                #expect(standing.header("Upload-Offset") == "4000" && standing.header("Upload-Complete") == "?0")
            }
            for (offset, complete, length) in [
                (nil, "?0", nil), ("x", "?0", nil), ("-1", "?0", nil), ("4000", "yes", nil), ("4000", "?0", "9999"),
            ] as [(String?, String, String?)] {
                let wrong = try await send(file[4000..<4001], at: offset, complete: complete, length: length)
                #expect(wrong.status == 400 && wrong.code == "invalid_request", "\(wrong.text)")
            }
            #expect(try await send(file[4000...], at: "4000", as: "bob").status == 404)
            let misplaced = try await send(file[3999...], at: "3999")
            #expect(misplaced.status == 409 && misplaced.header("Upload-Offset") == "4000")
            // A whole file meanwhile would be another upload.
            #expect(
                try await client.send(.put, "/v1/images/mine/file", as: "ann", body: file, type: octets).status == 409)
            let last = try await send(file[4000...], at: "4000", complete: "?1")
            #expect(last.status == 202, "\(last.text)")
            site.uploads.state.withLock { state in
                #expect(state.bytes[id] == file)
                #expect(state.finished == [id] && state.cancelled.isEmpty)
            }
        }
    }

    @Test("an image may come from an address, with a checksum; its file then cannot be sent")
    func fetchedImage() async throws {
        let site = try await TestSite()
        let sum = "sha256:" + String(repeating: "ab", count: 32)
        try await site.test { client async throws in
            let made = try await client.post(
                "/v1/images", ["name": "far", "url": "HTTPS://Example.ORG/x", "checksum": .string(sum)], as: "ann")
            #expect(made.status == 201 && made.json["status"] == "saving", "\(made.text)")
            #expect(made.json["expected_checksum"]?.string == sum)
            #expect(site.uploads.state.withLock { $0.fetches } == 1)
            let sent = try await client.send(
                .patch, "/v1/images/far/file", as: "ann", body: [1], type: "application/octet-stream",
                headers: ["Upload-Offset": "0"])
            #expect(sent.status == 409, "\(sent.text)")
            let id = try #require(made.json["id"]?.string.flatMap { ImageID($0) })
            let source = try await site.store.read { try $0.images.source(of: id) }
            #expect(source?.address == "https://example.org/x")
            for url in ["file:///etc/shadow", "https://a:b@example.org/", "https://example.org/#x", "gopher://x/1"] {
                let refused = try await client.post("/v1/images", ["name": "x", "url": .string(url)], as: "ann")
                #expect(refused.status == 400 && refused.text.contains("/url"), "\(refused.text)")
            }
            #expect(try await client.delete("/v1/images/far", as: "ann").status == 204)
            #expect(site.uploads.state.withLock { $0.discarded } == [id])
            #expect(try await site.store.read { try $0.images.source(of: id) } == nil)
        }
    }

    @Test("SEC-03 metacharacters in every field of an image are text, or refused; none reaches a path")
    func hostileWords() async throws {
        let site = try await TestSite()
        let words = [
            "$(touch /tmp/x)", "`id`", "a;b", "../../etc/passwd", "a|b", "--help", "a\"b", "%s%n", "{{7*7}}",
            "<script>",
        ]
        try await site.test { client async throws in
            for word in words {
                let named = try await client.post("/v1/images", ["name": .string(word)], as: "ann")
                #expect(named.status == 400, "\(word)")
                let keyed = try await client.post(
                    "/v1/images", ["name": "a", "properties": .object([.init(word, "v")])], as: "ann")
                #expect(keyed.status == 400 && keyed.code == "invalid_request", "\(word): \(keyed.text)")
                let valued = try await client.post(
                    "/v1/images", ["name": "a", "properties": ["free": .string(word)]], as: "ann")
                #expect(valued.status == 201 && valued.json["properties"]?["free"]?.string == word)
                let typed = try await client.post("/v1/images", ["name": "a", "format": .string(word)], as: "ann")
                #expect(typed.status == 400)
            }
        }
    }

    @Test("an image is shared, put out of use and replaced over HTTP; whom it is shared with, its owner alone sees")
    func imageChanges() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            let secret = "/v1/images/\(fixtures.privateImage.id)"
            let shared = try await client.send(.put, secret + "/shares/default", as: "ann")
            #expect(shared.status == 200 && shared.json["visibility"] == "shared", "\(shared.text)")
            #expect(shared.json["shared_with"] == ["default"])
            let seen = try await client.get(secret, as: "bob")
            #expect(seen.status == 200 && seen.json["shared_with"] == [], "\(seen.text)")
            #expect(try await client.send(.delete, secret + "/shares/default", as: "bob").status == 403)
            #expect(
                try await client.send(.delete, secret + "/shares/default", as: "ann").json["visibility"] == "private")
            #expect(try await client.get(secret, as: "bob").status == 404)
            #expect(try await client.post(secret + "/deactivate", [:], as: "ann").status == 400, "it takes no body")
            let off = try await client.send(.post, secret + "/deactivate", as: "ann")
            #expect(off.status == 200 && off.json["status"] == "deactivated", "\(off.text)")
            #expect(try await client.send(.post, secret + "/reactivate", as: "ann").json["status"] == "active")
            let change = try await client.patch(secret, ["protected": true], as: "ann")
            #expect(change.json["protected"] == true)
            let kept = try await client.delete(secret, as: "ann")
            #expect(kept.status == 409 && kept.code == "image_protected")
            let wrong = try await client.patch(secret, ["properties": ["hw_video_ram": "much"]], as: "ann")
            #expect(wrong.status == 422 && wrong.text.contains("/properties/hw_video_ram"), "\(wrong.text)")
            let replaced = try await client.post("/v1/images/debian/replace", ["image": "secret-image"], as: "root")
            #expect(replaced.status == 200 && replaced.json["name"] == "debian", "\(replaced.text)")
            #expect(replaced.json["id"]?.string == "\(fixtures.privateImage.id)")
            let listed = try await client.get("/v1/images", as: "bob").json["items"]?.array ?? []
            #expect(listed.compactMap { $0["id"]?.string } == ["\(fixtures.privateImage.id)"])
        }
    }

    @Test("disabling nodes shows a plan first, then does it")
    func nodes() async throws {
        let site = try await TestSite()
        _ = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            let plan = try await client.post("/v1/nodes/disable", ["nodes": ["cn1", "cn9"]], as: "root")
            #expect(plan.status == 200)
            #expect(SchemaCheck.faults(of: plan.json, in: .object(NodeRoutes.plans)) == [])
            #expect(plan.json["items"]?.array?.map { $0["ok"] } == [true, false])
            #expect(try await client.get("/v1/nodes/cn1", as: "root").json["enabled"] == true)
            let real = try await client.post("/v1/nodes/disable", ["nodes": ["cn1"], "dry_run": false], as: "root")
            #expect(real.status == 202, "\(real.text)")
            #expect(SchemaCheck.faults(of: real.json, in: .object(OperationResource.schema)) == [])
            #expect(try await client.get("/v1/nodes/cn1", as: "root").json["enabled"] == false)
            #expect(try await client.delete("/v1/nodes/cn1", as: "root").code == "in_use")
            let enabled = try await client.post("/v1/nodes/enable", ["nodes": ["cn1"]], as: "root")
            #expect(SchemaCheck.faults(of: enabled.json, in: .object(NodeRoutes.actions)) == [])
            #expect(try await client.post("/v1/nodes/enable", ["nodes": []], as: "root").status == 400)
            let changed = try await client.patch(
                "/v1/nodes/cn1", ["cpu_allocation_ratio": .number(2.5), "location": "rack 7"], as: "root")
            #expect(changed.json["cpu_allocation_ratio"] == .number(2.5))
            #expect(changed.json["availability"] == .null)
            let windows: JSONValue = ["windows": "00:00-24:00", "time_zone": "Europe/Berlin"]
            let lent = try await client.patch("/v1/nodes/cn1", ["availability": windows], as: "root")
            #expect(lent.json["availability"]?["owner"] == "root", "\(lent.text)")
            #expect(SchemaCheck.faults(of: lent.json, in: .object(NodeResource.schema)) == [])
            let wrong: JSONValue = ["windows": "20:00", "time_zone": "UTC"]
            #expect(try await client.patch("/v1/nodes/cn1", ["availability": wrong], as: "root").status == 422)
            let back = try await client.patch("/v1/nodes/cn1", ["availability": .null], as: "root")
            #expect(back.json["availability"] == .null)
            // Three days from now, whatever day it is: shut today.
            let day = (SystemTime().timestamp.milliseconds / 86_400_000 + 4 + 3) % 7
            let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
            let shut: JSONValue = ["windows": .string("12:00-13:00 \(days[Int(day)])"), "time_zone": "UTC"]
            let refused = try await client.patch("/v1/nodes/cn1", ["availability": shut], as: "root")
            #expect(refused.code == "conflict" && refused.text.contains("/v1/nodes/windows"), "\(refused.text)")
            let shown = try await client.post(
                "/v1/nodes/windows", ["nodes": ["cn1", "cn9"], "availability": shut], as: "root")
            #expect(shown.json["dry_run"] == true, "\(shown.text)")
            #expect(SchemaCheck.faults(of: shown.json, in: .object(NodeRoutes.plans)) == [])
            #expect(try await client.get("/v1/nodes/cn1", as: "root").json["availability"] == .null)
            let given = try await client.post(
                "/v1/nodes/windows", ["nodes": ["cn1", "cn9"], "availability": shut, "dry_run": false], as: "root")
            #expect(given.json["dry_run"] == false && given.json["items"]?.array?.map { $0["ok"] } == [true, false])
            #expect(
                try await client.get("/v1/nodes/cn1", as: "root").json["availability"]?["windows"]?.string?
                    .hasPrefix("12:00-13:00") == true)
            #expect(try await client.patch("/v1/nodes/cn1", ["availability": .null], as: "root").status == 200)
            let moving = try await client.post(
                "/v1/nodes/disable", ["nodes": ["cn1"], "dry_run": false, "mode": "migrate"], as: "root")
            #expect(moving.status == 422 && moving.code == "unprocessable", "\(moving.text)")
            let past: JSONValue = ["nodes": ["cn1"], "until": "2020-01-01T00:00:00Z"]
            #expect(try await client.post("/v1/nodes/enable", past, as: "root").status == 422)
            let token = try await client.post("/v1/nodes/tokens", ["ttl_seconds": 60, "node_name": "cn2"], as: "root")
            #expect(token.status == 201)
            #expect(SchemaCheck.faults(of: token.json, in: .object(NodeRoutes.token)) == [])
            #expect(token.json["ca_fingerprint"]?.string?.hasPrefix("sha256:") == true)
        }
    }

    @Test(
        "processors of a node are dedicated by an operator, and shown with what is free; what it does not have is refused"
    )
    func dedicatedProcessors() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.store.write { sql in
            var node = try #require(try sql.nodes.find(fixtures.node.id))
            node.inventory.topology = HostTopology([
                .init(number: 0, memoryMiB: 4096, cores: [[0, 4], [1, 5]], pages: [.init(sizeKiB: 2048, total: 8)]),
                .init(number: 1, memoryMiB: 4096, cores: [[2, 6], [3, 7]]),
            ])
            try sql.nodes.update(node)
        }
        try await site.test { client async throws in
            let changed = try await client.patch("/v1/nodes/cn1", ["dedicated_cpus": "1,5,2-3"], as: "root")
            #expect(changed.json["dedicated_cpus"] == "1-3,5", "\(changed.text)")
            #expect(SchemaCheck.faults(of: changed.json, in: .object(NodeResource.schema)) == [])
            let cells = changed.json["numa_nodes"]?.array ?? []
            #expect(cells.map { $0["dedicated_cpus_free"] } == ["1,5", "2-3"])
            #expect(cells.first?["cpus"] == "0-1,4-5")
            #expect(cells.first?["huge_pages"]?.array?.first?["free"] == 8)
            for wrong in ["8", "all", "0-7", "1-"] as [JSONValue] {
                let refused = try await client.patch("/v1/nodes/cn1", ["dedicated_cpus": wrong], as: "root")
                #expect(refused.status == 422 && refused.text.contains("/dedicated_cpus"), "\(refused.text)")
            }
            let back = try await client.patch("/v1/nodes/cn1", ["dedicated_cpus": .null], as: "root")
            #expect(back.json["dedicated_cpus"] == .null)
        }
    }

    @Test("a node's cache is listed page by page; copies are pinned and evicted with clear refusals")
    func imageCopies() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        let now = SystemTime().timestamp
        try await site.store.write { sql in
            try sql.imageCopies.save(
                ImageCopy(
                    image: fixtures.publicImage.id, node: fixtures.node.id, diskBytes: 700, heldSince: now,
                    corruptChunks: 1))
            try sql.images.insert(
                ImagePlacement(
                    image: fixtures.privateImage.id, node: fixtures.node.id, state: .held, upstream: nil,
                    requestedAt: now,
                    updatedAt: now))
        }
        try await site.test { client async throws in
            let list = try await client.get("/v1/nodes/cn1/images", as: "root")
            let copies = try #require(list.json["items"]?.array)
            let debian = try #require(copies.first { $0["image"] == "debian" })
            #expect(copies.count == 2 && SchemaCheck.faults(of: debian, in: .object(ImageCacheRoutes.copy)) == [])
            #expect(debian["disk_bytes"] == 700 && debian["instances"] == 1)
            #expect(debian["pinned"] == false && debian["corrupt_chunks"] == 1)
            let first = try await client.get("/v1/nodes/cn1/images?limit=1", as: "root")
            let next = try #require(first.json["next"]?.string)
            let second = try await client.get("/v1/nodes/cn1/images?limit=1&after=\(next)", as: "root")
            #expect((first.json["items"]?.array ?? []) + (second.json["items"]?.array ?? []) == copies)
            #expect(second.json["next"] == .null)
            #expect(try await client.get("/v1/nodes/cn1/images", as: "ann").status == 403)
            let pinned = try await client.post("/v1/images/secret-image/pin", ["nodes": ["cn1"]], as: "root")
            #expect(pinned.status == 200 && pinned.json["nodes"]?.array?.first?["pinned"] == true)
            let refused = try await client.post("/v1/images/secret-image/evict", ["nodes": ["cn1"]], as: "root")
            #expect(refused.status == 409 && refused.text.contains("unpin it there first"))
            #expect(
                try await client.post("/v1/images/secret-image/unpin", ["nodes": ["cn1"]], as: "root").status == 200)
            let evicted = try await client.post("/v1/images/secret-image/evict", ["nodes": ["cn1"]], as: "root")
            #expect(evicted.status == 200 && evicted.json["nodes"]?.array?.isEmpty == true)
            let used = try await client.post("/v1/images/debian/evict", ["nodes": ["cn1"]], as: "root")
            #expect(used.status == 409 && used.code == "in_use" && used.text.contains("'web'"))
            let shown = try await client.get("/v1/images/debian", as: "root")
            #expect(shown.json["nodes"]?.array?.first?["held_since"] == .string("\(now)"))
            #expect(try await client.post("/v1/images/debian/pin", ["nodes": []], as: "root").status == 400)
            #expect(try await client.post("/v1/images/debian/pin", ["nodes": ["cn1"]], as: "ann").status == 403)
        }
    }

    @Test("readiness is told with its reasons; metrics by route; every answer has a request ID")
    func site() async throws {
        let site = try await TestSite()
        try await site.test { client async throws in
            #expect(try await client.get("/healthz").json == ["status": "ok"])
            #expect(try await client.get("/readyz").status == 200)
            site.readiness.reasons = ["the store is closed"]
            let not = try await client.get("/readyz")
            #expect(not.status == 503)
            #expect(not.json["reasons"] == ["the store is closed"])
            _ = try await client.get("/v1/users/ann", as: "ann", headers: ["X-Request-ID": "trace-0001"])
            let metrics = try await client.get("/metrics")
            #expect(
                metrics.text.contains(
                    "roost_api_requests_total{method=\"GET\",route=\"/v1/users/{ref}\",status=\"200\"} 1"))
            let own = try await client.get("/healthz", headers: ["X-Request-ID": "trace-0002"])
            #expect(own.header("X-Request-ID") == "trace-0002")
            let forged = try await client.get("/healthz", headers: ["X-Request-ID": "a b=\"c\""])
            #expect(forged.header("X-Request-ID")?.count == 32)
        }
        #expect(
            site.lines.all.contains {
                $0.contains("trace-0001") && $0.contains("/v1/users/{ref}") && $0.contains("ann")
            })
    }

    @Test("usage: days are checked, a user sees their own")
    func usage() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        let ann = site.users["ann"]!
        let today = SystemTime().timestamp.day
        try await site.store.write { transaction in
            var amounts = UsageAmounts()
            amounts.serverMilliseconds = 1_800_000
            try transaction.usage.add([
                .init(
                    hour: today.daysSince1970 * 24, instance: fixtures.instance.id, owner: ann.id, account: "default",
                    flavor: fixtures.flavor.id, amounts: amounts)
            ])
        }
        try await site.test { client async throws in
            for grouping in ["day", "instance", "user"] {
                let reply = try await client.get("/v1/usage?group_by=\(grouping)", as: "ann")
                let page = ObjectSchema(
                    "UsagePage",
                    [
                        .init("items", .array(.object(UsageResource.item), maximum: 1000), required: true),
                        .init("next", .nullable(.text), required: true),
                    ] + UsageResource.report)
                #expect(SchemaCheck.faults(of: reply.json, in: .object(page)) == [], "\(reply.text)")
                #expect(reply.json["totals"]?["server_hours"]?.number == 0.5)
                #expect(reply.json["items"]?.array?.count == 1)
            }
            #expect(try await client.get("/v1/usage", as: "bob").json["items"] == [])
            #expect(try await client.get("/v1/usage?user=ann", as: "bob").status == 404)
            #expect(try await client.get("/v1/usage?user=ann", as: "root").json["items"]?.array?.count == 1)
            for query in [
                "from=2026-02-30", "from=2026-01-02&to=2026-01-01", "from=0001-01-01&to=2026-01-01", "from=x",
            ] {
                #expect(try await client.get("/v1/usage?\(query)", as: "ann").status == 400, "\(query)")
            }
        }
    }

    @Test(
        "usage is paged like other lists, and its totals are those of all pages",
        arguments: ["day", "instance", "user"])
    func usagePages(grouping: String) async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        let users = site.users
        let day = SystemTime().timestamp.day.daysSince1970
        // Each user had seven instances, each of which ran for half an hour on a day of its own.
        try await site.store.write { transaction in
            var amounts = UsageAmounts()
            amounts.serverMilliseconds = 1_800_000
            for user in users.values {
                for number in 0..<7 {
                    try transaction.usage.add([
                        .init(
                            hour: (day - Int64(number)) * 24, instance: .generate(at: SystemTime().timestamp),
                            owner: user.id, account: "default", flavor: fixtures.flavor.id, amounts: amounts)
                    ])
                }
            }
        }
        let path = "/v1/usage?group_by=\(grouping)&from=\(CivilDay(daysSince1970: day - 10))"
        try await site.test { client async throws in
            let whole = try await client.get(path, as: "root")
            let all = whole.json["items"]?.array ?? []
            #expect(all.count == (grouping == "user" ? 3 : 21))
            #expect(whole.json["next"] == .null && whole.json["totals"]?["server_hours"]?.number == 10.5)
            var seen: [JSONValue] = []
            var after = ""
            repeat {
                let page = try await client.get(path + "&limit=2" + after, as: "root")
                #expect(page.status == 200, "\(page.text)")
                #expect(page.json["totals"] == whole.json["totals"])
                seen += page.json["items"]?.array ?? []
                after = page.json["next"]?.string.map { "&after=\($0)" } ?? ""
            } while !after.isEmpty && seen.count < 100
            #expect(seen == all)
            let first = try await client.get(path + "&limit=1", as: "root")
            let cursor = try #require(first.json["next"]?.string)
            let other = grouping == "day" ? "user" : "day"
            let wrong = try await client.get("/v1/usage?group_by=\(other)&after=\(cursor)", as: "root")
            #expect(wrong.status == 422, "a cursor belongs to its grouping")
            let own = try await client.get(path, as: "ann")
            #expect(own.json["items"]?.array?.count == (grouping == "user" ? 1 : 7))
            #expect(own.json["totals"]?["server_hours"]?.number == 3.5)
        }
    }

    @Test("what is announced and not served yet answers 501, whatever is asked of it")
    func absent() async throws {
        let site = try await TestSite()
        let names = ["volumes", "networks", "floating-ips"]
        try await site.test { client async throws in
            for name in names {
                let requests: [(HTTPRequest.Method, String)] = [
                    (.get, "/v1/\(name)"), (.get, "/v1/\(name)?limit=5&name=x"), (.post, "/v1/\(name)"),
                    (.get, "/v1/\(name)/x"), (.patch, "/v1/\(name)/x"), (.delete, "/v1/\(name)/x"),
                ]
                for (method, path) in requests {
                    for body in [nil, #"{"name":"x"}"#, "no json"] as [String?] {
                        let reply = try await client.send(method, path, as: "ann", body: body.map { Array($0.utf8) })
                        #expect(
                            reply.status == 501 && reply.code == "not_implemented", "\(method) \(path): \(reply.text)")
                        #expect(reply.json["detail"]?.string?.contains(name) == true)
                    }
                    #expect(try await client.send(method, path).status == 401)
                }
            }
            let console = try await client.post("/v1/instances/x/console", ["type": "serial"], as: "ann")
            #expect(console.status == 501)
        }
    }

    @Test("an error inside tells only a reference, which stands in the log")
    func inside() async throws {
        let site = try await TestSite()
        site.store.close()
        try await site.test { client async throws in
            let reply = try await client.get("/v1/flavors", as: "ann")
            #expect(reply.status == 503)
            #expect(reply.code == "storage_unavailable")
        }
    }

    @Test("waiting for an operation does not outlive the token")
    func revokedWait() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        try await site.test { client async throws in
            async let waited = client.get("/v1/operations/\(fixtures.operation.id)?wait=60", as: "ann")
            while site.services.signals.count == 0 { await Task.yield() }
            try await site.services.tokens.revoke(site.token("ann"))
            try await site.store.write { transaction in
                var operation = fixtures.operation
                operation.status = .succeeded
                try transaction.operations.update(operation)
            }
            #expect(try await waited.status == 401)
        }
    }

    @Test("waiting for an operation ends when it ends, or when the time is up")
    func wait() async throws {
        let site = try await TestSite()
        let fixtures = try await Fixtures.make(in: site)
        let path = "/v1/operations/\(fixtures.operation.id)"
        try await site.test { client async throws in
            let running = try await client.get(path + "?wait=1", as: "ann")
            #expect(running.json["status"] == "running")
            let start = SystemTime().uptime
            async let waited = client.get(path + "?wait=60", as: "ann")
            while site.services.signals.count == 0 { await Task.yield() }
            try await site.store.write { transaction in
                var operation = fixtures.operation
                operation.status = .succeeded
                try transaction.operations.update(operation)
            }
            #expect(try await waited.json["status"] == "succeeded")
            #expect(
                SystemTime().uptime - start < .seconds(30),
                "it answers when the operation ends, not when the time is up")
            #expect(site.services.signals.count == 0)
        }
    }
}
