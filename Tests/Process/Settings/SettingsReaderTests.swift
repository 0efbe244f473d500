import Foundation
import Testing

@testable import ProcessSettings

enum Accelerator: String, CaseIterable, Sendable { case auto, kvm, tcg }

private let port = Setting("api.port", .integer(1...65535), default: 7400, "The port of the API.")
private let address = Setting("api.address", .text(), default: "0.0.0.0", "The address to listen at.")
private let interval = Setting(
    "fleet.heartbeat_interval", .duration(.milliseconds(100)...(.seconds(3600))), default: .seconds(5), "How often.")
private let accelerator = Setting("hypervisor.accelerator", .choice, default: Accelerator.auto, "What runs guests.")
private let ratio = Setting("placement.cpu_ratio", .decimal(0.1...64), default: 4, "Overcommit.")
private let isOpen = Setting("api.open", .boolean, default: false, "Whether.")
private let names = Setting("api.names", .list(counts: 0...3), default: [], "Further names.")
private let password = Setting("store.password", .text(8...64), default: "unset-unset", secret: true, "The password.")

private let schema = SettingsSchema(
    program: "roost-manager", defaultConfigurationPath: "/nonexistent/manager.yaml", defaultDataPath: "/var/lib/roost",
    [
        port.declared, address.declared, interval.declared, accelerator.declared, ratio.declared, isOpen.declared,
        names.declared, password.declared,
    ])

private func withFile<Result>(_ text: String, _ body: (String) throws -> Result) throws -> Result {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("settings-\(UUID()).yaml").path
    try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try body(path)
}

private func read(
    _ text: String? = nil, set: [String] = [], environment: [String: String] = [:], data: String? = nil
) throws -> SettingsReader {
    guard let text else {
        return try SettingsReader(
            schema: schema, flags: SettingsFlags(data: data, assignments: set), environment: environment)
    }
    return try withFile(text) { path in
        try SettingsReader(
            schema: schema, flags: SettingsFlags(configuration: path, data: data, assignments: set),
            environment: environment)
    }
}

private func failure(
    _ text: String? = nil, set: [String] = [], environment: [String: String] = [:]
) -> SettingsError? {
    do {
        _ = try read(text, set: set, environment: environment)
        return nil
    } catch {
        return error as? SettingsError
    }
}

@Suite("Settings")
struct SettingsReaderTests {
    @Test("without file, environment and flags every setting has its default")
    func defaults() throws {
        let reader = try read()
        #expect(reader.value(port) == 7400)
        #expect(reader.value(interval) == .seconds(5))
        #expect(reader.value(accelerator) == .auto)
        #expect(reader.value(names) == [])
        #expect(reader.dataPath == "/var/lib/roost")
    }

    @Test("a file sets values of every kind")
    func file() throws {
        let reader = try read(
            """
            # a comment
            data: /srv/roost
            api:
              port: 7500
              address: "::1"
              open: true
              names: [one.example, two.example]
            fleet:
              heartbeat_interval: 250ms
            hypervisor.accelerator: tcg
            placement:
              cpu_ratio: 1.5
            """)
        #expect(reader.value(port) == 7500)
        #expect(reader.value(address) == "::1")
        #expect(reader.value(isOpen))
        #expect(reader.value(names) == ["one.example", "two.example"])
        #expect(reader.value(interval) == .milliseconds(250))
        #expect(reader.value(accelerator) == .tcg)
        #expect(reader.value(ratio) == 1.5)
        #expect(reader.dataPath == "/srv/roost")
    }

    @Test("a flag wins over the environment, the environment over the file")
    func precedence() throws {
        let text = "api:\n  port: 1001\n"
        #expect(try read(text).value(port) == 1001)
        #expect(try read(text, environment: ["ROOST_API_PORT": "1002"]).value(port) == 1002)
        #expect(
            try read(text, set: ["api.port=1003"], environment: ["ROOST_API_PORT": "1002"]).value(port) == 1003)
        #expect(try read(environment: ["ROOST_API_NAMES": "a, b"]).value(names) == ["a", "b"])
        #expect(try read("data: /a", environment: ["ROOST_DATA": "/b"]).dataPath == "/b")
        #expect(try read("data: /a", environment: ["ROOST_DATA": "/b"], data: "/c").dataPath == "/c")
    }

    @Test("an unknown key names the file, the line, the key and the likely key")
    func unknownKey() throws {
        let error = failure("api:\n  address: x\n  prot: 7400\n")
        let text = try #require(error?.description)
        #expect(text.contains("line 3"))
        #expect(text.contains("'api.prot'"))
        #expect(text.contains("did you mean 'api.port'"))
        #expect(failure(set: ["apy.port=1"])?.description.contains("did you mean 'api.port'") == true)
        #expect(failure("zzz: 1")?.description.contains("there is no setting 'zzz'") == true)
    }

    @Test(
        "a bad value names key, found and accepted values",
        arguments: [
            ("api.port=0", "a whole number from 1 to 65535"), ("api.port=70000", "from 1 to 65535"),
            ("api.port=seven", "'seven'"), ("api.open=yes", "true or false"),
            ("hypervisor.accelerator=kwm", "did you mean 'kvm'"),
            ("hypervisor.accelerator=xen", "one of auto, kvm, tcg"),
            ("fleet.heartbeat_interval=5", "with its unit"), ("fleet.heartbeat_interval=2h", "5s, 10m"),
            ("placement.cpu_ratio=nan", "from 0.1 to 64"), ("placement.cpu_ratio=inf", "from 0.1 to 64"),
            ("api.names=a,b,c,d", "at most 3"), ("api.address=", "a text"), ("api.address=a\nb", "a text"),
        ])
    func badValue(assignment: String, expected: String) throws {
        let text = try #require(failure(set: [assignment])?.description)
        #expect(text.contains(expected), "\(text)")
        #expect(text.contains(try #require(assignment.split(separator: "=").first)))
        #expect(!text.contains("\n"))
    }

    @Test("a bad environment variable is named")
    func badEnvironment() throws {
        let text = try #require(failure(environment: ["ROOST_API_PORT": "x"])?.description)
        #expect(text.contains("ROOST_API_PORT"))
    }

    @Test("a bad secret is not repeated")
    func secret() throws {
        let text = try #require(failure(set: ["store.password=hunter2"])?.description)
        #expect(!text.contains("hunter2"))
        let reader = try read(set: ["store.password=correct horse"])
        #expect(reader.value(password) == "correct horse")
        #expect(reader.summary.allSatisfy { !$0.value.contains("correct") })
    }

    @Test(
        "what is not a configuration is refused, never guessed at",
        arguments: [
            "- a\n- b\n", "api: [\n", "api:\n\tport: 1", "api:\n  port: 1\n  port: 2\n", "{{{{",
            "api:\n  names: [[a]]\n",
            "api:\n  port:\n    deep: 1\n", "api.port: 1\napi:\n  port: 2\n",
            "a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}",
            "? [a]\n: b\n", "api: 5",
        ])
    func malformed(text: String) {
        #expect(failure(text) != nil)
    }

    @Test("an empty file and an empty value are no faults where empty is accepted")
    func empty() throws {
        #expect(try read("").value(port) == 7400)
        #expect(try read("# nothing\n").value(port) == 7400)
        #expect(try read("api:\n  names: []\n").value(names) == [])
        #expect(failure("api:\n  port:\n") != nil)
    }

    @Test("a file that was named must exist; the default one need not")
    func missing() {
        #expect(throws: SettingsError.self) {
            try SettingsReader(
                schema: schema, flags: SettingsFlags(configuration: "/nonexistent/x.yaml"), environment: [:])
        }
        #expect(throws: SettingsError.self) {
            try SettingsReader(schema: schema, flags: SettingsFlags(configuration: "/tmp"), environment: [:])
        }
    }

    @Test("a strange variable is a warning, those of the command line are not")
    func warnings() throws {
        let reader = try read(environment: ["ROOST_API_PROT": "1", "ROOST_ENDPOINT": "x", "HOME": "/"])
        #expect(reader.warnings.count == 1)
        #expect(reader.warnings.first?.contains("ROOST_API_PORT") == true)
    }

    @Test("flags need a key and stand once")
    func flags() {
        #expect(failure(set: ["api.port"]) != nil)
        #expect(failure(set: ["=1"]) != nil)
        #expect(failure(set: ["api.port=1", "api.port=2"]) == .repeatedKey(key: "api.port", origin: .flag))
    }

    @Test("the example file, with its comments removed, is the defaults")
    func example() throws {
        let text = schema.exampleFile
        #expect(text.split(separator: "\n").allSatisfy { $0.count <= 120 })
        let active = text.split(separator: "\n")
            .filter { !$0.contains("##") && !$0.contains("store") && !$0.contains("password") }
            .map { $0.dropFirst() }.joined(separator: "\n")
        let reader = try read(active)
        #expect(reader.value(port) == 7400)
        #expect(reader.value(interval) == .seconds(5))
        #expect(reader.value(names) == [])
        #expect(reader.value(address) == "0.0.0.0")
    }

    @Test("the table has a row for each setting and shows no secret's default")
    func table() {
        #expect(schema.table.split(separator: "\n").count == schema.settings.count + 2)
        #expect(!schema.table.contains("unset-unset"))
        #expect(!schema.exampleFile.contains("unset-unset"))
    }
}
