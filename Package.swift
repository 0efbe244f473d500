// swift-tools-version: 6.2
import PackageDescription

/// One setting for every target of ours (STYLE: the compiler guards what it can).
let strict: [SwiftSetting] =
    [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
    ]
    // CI refuses warnings; a newer compiler's new ones must not stop a user's build.
    + (Context.environment["ROOST_STRICT"] == nil ? [] : [.treatAllWarnings(as: .error)])

/// A room of the tree: module name = folder path, so an import line says where to look.
func room(
    _ folder: String, _ dependencies: [Target.Dependency], exclude: [String] = [], resources: [Resource]? = nil
)
    -> Target
{
    .target(
        name: folder.split(separator: "/").joined(), dependencies: dependencies, path: folder, exclude: exclude,
        resources: resources, swiftSettings: strict)
}

/// A program: a room with an entry point.
func program(_ folder: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
    .executableTarget(
        name: folder.split(separator: "/").joined(), dependencies: dependencies, path: folder, exclude: exclude,
        swiftSettings: strict)
}

/// The tests of a room.
func tests(
    _ folder: String, _ dependencies: [Target.Dependency], resources: [Resource]? = nil, exclude: [String] = []
)
    -> Target
{
    .testTarget(
        name: folder.split(separator: "/").joined() + "Tests", dependencies: dependencies, path: "Tests/" + folder,
        exclude: exclude, resources: resources, swiftSettings: strict)
}

let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let deque: Target.Dependency = .product(name: "DequeModule", package: "swift-collections")
let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let nio: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioTLS: Target.Dependency = .product(name: "NIOTLS", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let cryptoExtras: Target.Dependency = .product(name: "CryptoExtras", package: "swift-crypto")
let x509: Target.Dependency = .product(name: "X509", package: "swift-certificates")
let asn1: Target.Dependency = .product(name: "SwiftASN1", package: "swift-asn1")
let jwt: Target.Dependency = .product(name: "JWTKit", package: "jwt-kit")
let hummingbird: Target.Dependency = .product(name: "Hummingbird", package: "hummingbird")
let hummingbirdTesting: Target.Dependency = .product(name: "HummingbirdTesting", package: "hummingbird")
let hummingbirdCore: Target.Dependency = .product(name: "HummingbirdCore", package: "hummingbird")
let hummingbirdTLS: Target.Dependency = .product(name: "HummingbirdTLS", package: "hummingbird")
let httpTypes: Target.Dependency = .product(name: "HTTPTypes", package: "swift-http-types")
let httpClient: Target.Dependency = .product(name: "AsyncHTTPClient", package: "async-http-client")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let lifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let signals: Target.Dependency = .product(name: "UnixSignals", package: "swift-service-lifecycle")
let configuration: Target.Dependency = .product(name: "Configuration", package: "swift-configuration")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")
let subprocess: Target.Dependency = .product(name: "Subprocess", package: "swift-subprocess")

let package = Package(
    name: "roost",
    products: [
        .executable(name: "roost-manager", targets: ["ManagerDaemon"]),
        .executable(name: "roost-agent", targets: ["AgentDaemon"]),
        .executable(name: "roost", targets: ["ManagerCommand"]),
        .executable(name: "roost-simulator", targets: ["SimulatorProgram"]),
        .library(name: "RoostClient", targets: ["RoostClient"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-asn1", from: "1.7.4"),
        .package(url: "https://github.com/apple/swift-certificates", from: "1.21.1"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.0.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: [.defaults, "YAML"]),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.5.1"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
        .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.1"),
    ],
    targets: [
        // C libraries: one module map each, and one owning wrapper beside its only user.
        .systemLibrary(
            name: "COpenSSL", path: "CLibraries/COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(
            name: "CZstd", path: "CLibraries/CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(
            name: "CSQLite", path: "CLibraries/CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .systemLibrary(
            name: "CMariaDB", path: "CLibraries/CMariaDB", pkgConfig: "libmariadb",
            providers: [.apt(["libmariadb-dev"])]),
        .systemLibrary(
            name: "CLibvirt", path: "CLibraries/CLibvirt", pkgConfig: "libvirt", providers: [.apt(["libvirt-dev"])]),
        .systemLibrary(
            name: "CCurl", path: "CLibraries/CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),
        .systemLibrary(
            name: "CLdap", path: "CLibraries/CLdap", pkgConfig: "ldap", providers: [.apt(["libldap-dev"])]),
        .systemLibrary(
            name: "CZlib", path: "CLibraries/CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CLinuxFiles", path: "CLibraries/CLinuxFiles"),
        .systemLibrary(name: "CMalloc", path: "CLibraries/CMalloc"),

        // Protocol: the contract between the two sides. No I/O.
        room("Protocol/Model", []),
        room("Protocol/Messages", [protobuf], exclude: ["roost.proto"]),
        room("Protocol/Wire", ["ProtocolModel", "ProtocolMessages", protobuf]),
        room("Protocol/Trust", ["ProtocolModel", crypto, x509, asn1]),
        room("Protocol/Digest", ["ProtocolModel", "COpenSSL"]),
        room("Protocol/Transfer", ["ProtocolModel", "ProtocolMessages", "ProtocolDigest", protobuf]),

        // Process: what every Roost daemon does as a process.
        room("Process/Settings", [configuration, yams]),
        room("Process/Memory", ["CMalloc"]),
        room("Process/Threads", [deque]),
        room("Process/Files", ["CLinuxFiles"]),
        room("Process/Log", [logging]),

        // ChunkPlane: chunks of images over TLS, served and pulled by both sides on threads of their own.
        room(
            "ChunkPlane",
            [
                "ProtocolModel", "ProtocolMessages", "ProtocolWire", "ProtocolTrust", "ProtocolTransfer",
                "ProcessThreads", "COpenSSL", "CZstd", crypto, deque, logging, protobuf,
            ]),

        // Manager: the authoritative record.
        room("Manager/Model", ["ProtocolModel"]),
        room(
            "Manager/Store",
            ["ProtocolModel", "ProtocolDigest", "ProcessThreads", "ManagerModel", "CMariaDB", "CSQLite", logging]),
        room(
            "Manager/Identity",
            [
                "ProtocolModel", "ManagerModel", "ManagerStore", "ManagerDirectory", "ManagerMail", crypto,
                cryptoExtras,
                nioPosix, logging,
            ]),
        room("Manager/Directory", ["ProtocolModel", "ProcessThreads", "CLdap", logging]),
        room("Manager/Mail", ["ProtocolModel", "ProcessThreads", "CCurl", lifecycle, logging]),
        room("Manager/Placement", ["ProtocolModel", "ManagerModel"]),
        room(
            "Manager/Lifecycle",
            [
                "ProtocolModel", "ProtocolDigest", "ProtocolTransfer", "ManagerModel", "ManagerStore",
                "ManagerPlacement",
                logging,
            ]),
        room(
            "Manager/Leadership", ["ProtocolModel", "ManagerModel", "ManagerStore", logging, lifecycle]),
        room("Manager/Accounting", ["ProtocolModel", "ManagerModel", "ManagerStore"]),
        room("Manager/ImageHeaders", ["ProtocolModel"]),
        room(
            "Manager/Images",
            [
                "ProtocolModel", "ProtocolMessages", "ProtocolTransfer", "ProcessThreads", "ProcessFiles", "ChunkPlane",
                "ManagerImageHeaders", crypto, subprocess, logging, protobuf,
            ]),
        room(
            "Manager/ImageSources",
            ["ProtocolModel", "ProcessThreads", "ManagerModel", httpClient, nio, nioHTTP1, nioSSL]),
        room(
            "Manager/Fleet",
            [
                "ProtocolModel", "ProtocolMessages", "ProtocolDigest", "ProtocolTransfer", "ProtocolWire",
                "ManagerModel",
                "ManagerStore", "ManagerLifecycle", "ManagerAccounting", protobuf,
            ], exclude: ["Network"]),
        room(
            "Manager/Fleet/Network",
            [
                "ProtocolModel", "ProtocolMessages", "ProtocolWire", "ProtocolTrust", "ManagerModel", "ManagerStore",
                "ManagerFleet",
                nio, nioPosix, nioTLS, nioSSL, logging, lifecycle, protobuf,
            ]),
        room(
            "Manager/API",
            [
                "ProtocolModel", "ManagerModel", "ManagerStore", "ManagerIdentity", "ManagerLifecycle", "CZlib",
                hummingbird,
                hummingbirdCore, hummingbirdTLS, httpTypes, crypto, lifecycle, logging, nio, nioSSL,
            ]),
        program(
            "Manager/Daemon",
            [
                "ProtocolModel", "ProtocolTransfer", "ProtocolTrust", "ProcessSettings", "ProcessLog", "ProcessMemory",
                "ProcessThreads", "ChunkPlane",
                "ManagerModel",
                "ManagerStore",
                "ManagerIdentity", "ManagerLifecycle", "ManagerFleet", "ManagerFleetNetwork", "ManagerLeadership",
                "ManagerAccounting",
                "ManagerImageHeaders",
                "ManagerImages", "ManagerImageSources", "ManagerDirectory", "ManagerMail",
                "ManagerAPI",
                arguments, lifecycle, logging, nioSSL, x509, crypto, subprocess,
            ]),
        // The API's client for other people's programs, and for the command line.
        room("RoostClient", [httpClient, nio, nioHTTP1, nioPosix, nioSSL], exclude: ["README.md"]),
        program("Manager/Command", ["RoostClient", arguments, httpClient, nio, nioPosix]),

        // Agent: one on each host.
        room("Agent/Reconcile", ["ProtocolModel"]),
        room("Agent/Durability", ["ProtocolModel"]),
        room("Agent/Hypervisor", ["ProtocolModel", "ProcessThreads", "CLibvirt", "CLinuxFiles", subprocess]),
        room(
            "Agent/Images",
            [
                "ProtocolModel", "ProtocolMessages", "ProtocolTransfer", "ProcessThreads", "ProcessFiles", "ChunkPlane",
                "CLinuxFiles", crypto, logging,
            ]),
        room("Agent/Devices", ["ProtocolModel", "AgentDurability"]),
        room("Agent/Network", ["ProcessThreads", httpClient, nio, nioSSL]),
        room("Agent/Usage", ["ProtocolModel", "ProtocolMessages", "AgentDurability", protobuf]),
        room(
            "Agent/Link",
            [
                "ProtocolModel", "ProtocolMessages", "ProtocolWire", "ProtocolTransfer", "AgentDurability",
                "AgentReconcile", "AgentUsage", protobuf,
            ]),
        room("Agent/Managers", ["ProtocolModel"]),
        room(
            "Agent/Uplink",
            [
                "AgentManagers", "ProtocolModel", "ProtocolMessages", "ProtocolWire", "ProtocolTrust", crypto, x509,
                asn1, nio, nioPosix,
                nioTLS,
                nioSSL, logging, protobuf,
            ]),
        program(
            "Agent/Daemon",
            [
                "ProtocolModel", "ProtocolMessages", "ProtocolTrust", "ProtocolTransfer", "ProcessSettings",
                "ProcessLog", "ProcessMemory", "ProcessThreads", "ChunkPlane", "AgentReconcile", "AgentDurability",
                "AgentHypervisor", "AgentImages", "AgentDevices", "AgentLink",
                "AgentNetwork", "AgentUsage", "AgentManagers", "AgentUplink", "ProtocolWire", arguments, lifecycle,
                signals, logging,
                protobuf,
            ]),

        // Simulator: whole sites in simulated time. None of it is part of a daemon.
        room(
            "Simulator/World",
            [
                "ProtocolModel", "ProtocolTransfer", "ProtocolWire", "ManagerModel", "AgentDurability",
                "AgentReconcile", "AgentUsage",
            ]),
        room(
            "Simulator/Site",
            [
                "SimulatorWorld", "ProtocolModel", "ProtocolMessages", "ProtocolDigest", "ProtocolTransfer",
                "ProtocolWire", "ManagerModel", "ManagerStore", "ManagerLifecycle", "ManagerFleet",
                "ManagerLeadership", "AgentDurability", "AgentReconcile", "AgentUsage", "AgentLink", "AgentManagers",
                protobuf,
            ]),
        room(
            "Simulator/Checker",
            [
                "SimulatorWorld", "ProtocolModel", "ProtocolMessages", "ManagerModel", "ManagerStore",
                "AgentReconcile", protobuf,
            ]),
        room("Simulator/Run", ["SimulatorWorld", "SimulatorSite", "SimulatorChecker", "ProtocolModel"]),
        program("Simulator/Program", ["SimulatorWorld", "SimulatorSite", "SimulatorRun", arguments]),

        // The built program itself: dependency on the target, so that it is there.
        tests(
            "Simulation",
            ["SimulatorProgram", "SimulatorRun", "SimulatorSite", "SimulatorWorld", "AgentDurability"],
            exclude: ["failing-seeds.txt"]),
        tests("Protocol/Model", ["ProtocolModel"]),
        room("Tests/Support/Randomness", []),
        room("Tests/Support/Hardware", ["ProtocolModel"]),
        tests(
            "Protocol/Wire",
            ["ProtocolWire", "ProtocolModel", "ProtocolMessages", "TestsSupportRandomness", protobuf]),
        tests("Protocol/Trust", ["ProtocolTrust", "ProtocolModel", crypto, x509, asn1]),
        tests("Protocol/Digest", ["ProtocolDigest", "ProtocolModel"]),
        tests("Chains", ["AgentImages", "ProtocolTransfer", "ProtocolModel", "TestsSupportRandomness"]),
        tests("Protocol/Transfer", ["ProtocolTransfer", "ProtocolModel", "ProtocolMessages", protobuf]),
        tests("Process/Settings", ["ProcessSettings"]),
        tests("Process/Threads", ["ProcessThreads"]),
        tests("Process/Log", ["ProcessLog", logging]),
        tests(
            "ChunkPlane",
            [
                "ChunkPlane", "ProtocolTransfer", "ProtocolTrust", "ProtocolWire", "ProtocolModel", "ProtocolMessages",
                "TestsSupportWaiting", logging,
            ]),
        room("Tests/Support/Waiting", []),
        room("Tests/Support/Store", ["ManagerStore"], exclude: ["mariadb-server"]),
        tests("Manager/Model", ["ManagerModel", "ProtocolModel"]),
        tests(
            "Manager/Store",
            ["ManagerStore", "TestsSupportStore", "TestsSupportWaiting", "ManagerModel", "ProtocolModel"]),
        tests(
            "Manager/Identity",
            [
                "ManagerIdentity", "ManagerDirectory", "ManagerMail", "ManagerStore", "ManagerModel", "ProtocolModel",
                "TestsSupportStore", crypto, jwt, logging,
            ]),
        room("Tests/Support/Directory", [], exclude: ["directory-server", "people.ldif"]),
        tests(
            "Manager/Directory",
            ["ManagerDirectory", "TestsSupportDirectory", "ProtocolModel", logging]),
        room("Tests/Support/Mail", [], exclude: ["mail-server"]),
        tests("Manager/Mail", ["ManagerMail", "TestsSupportMail", "ProtocolModel", lifecycle, logging]),
        tests(
            "Manager/Placement", ["ManagerPlacement", "ManagerModel", "ProtocolModel", "TestsSupportRandomness"]),
        tests(
            "Manager/Lifecycle",
            [
                "ManagerLifecycle", "ManagerStore", "TestsSupportStore", "TestsSupportRandomness", "ManagerPlacement",
                "ManagerAccounting",
                "ManagerModel", "ProtocolModel", "ProtocolTransfer",
            ]),
        tests(
            "Manager/Accounting",
            ["ManagerAccounting", "ManagerStore", "TestsSupportStore", "ManagerModel", "ProtocolModel"]),
        tests(
            "Manager/Leadership",
            ["ManagerLeadership", "ManagerStore", "ManagerModel", "ProtocolModel", "TestsSupportRandomness"]),
        tests(
            "Manager/Images",
            [
                "ManagerImages", "ManagerImageHeaders", "ChunkPlane", "ProcessFiles", "ProtocolTransfer",
                "ProtocolModel",
                "TestsSupportStore", logging,
            ]),
        tests(
            "Manager/ImageSources",
            [
                "ManagerImageSources", "ManagerModel", "ProtocolModel", crypto, httpClient, nio, nioHTTP1, nioPosix,
                nioSSL, x509, asn1,
            ]),
        tests(
            "Manager/Fleet",
            [
                "ManagerFleet", "ManagerFleetNetwork", "ManagerLifecycle", "ManagerStore", "ManagerModel",
                "ProtocolWire", "ProtocolTransfer", "ProtocolTrust", "TestsSupportWaiting", "TestsSupportRandomness",
                "ProtocolModel", "ProtocolMessages", nio, nioPosix, nioTLS, nioSSL, logging, protobuf, crypto, x509,
            ]),
        tests(
            "Manager/API",
            [
                "ManagerAPI", "ManagerLifecycle", "ManagerStore", "ManagerIdentity", "ManagerModel", "ProtocolModel",
                "CZlib", crypto,
                hummingbird, hummingbirdTesting, httpTypes, lifecycle, logging, nio, nioPosix, nioSSL,
            ]),
        // The built program itself: dependency on the target, so that it is there.
        tests(
            "Manager/Daemon",
            [
                "AgentManagers", "AgentUplink", "ProtocolMessages", "ProtocolModel", "ProtocolTrust", "ProtocolWire",
                "ManagerLifecycle", "TestsSupportStore", "TestsSupportDirectory", "TestsSupportMail",
                "ManagerDaemon", "RoostClient", crypto, httpClient, logging, nio, nioHTTP1, nioPosix, nioSSL, protobuf,
            ]),
        tests("RoostClient", ["RoostClient", "TestsSupportHTTP", httpClient, nio, nioHTTP1]),
        room("Tests/Support/HTTP", [nio, nioHTTP1, nioPosix]),
        tests(
            "Manager/Command", ["ManagerCommand", "RoostClient", "TestsSupportHTTP", arguments, httpClient, nioHTTP1]),
        tests("Agent/Reconcile", ["AgentReconcile", "ProtocolModel"]),
        tests(
            "Agent/Hypervisor",
            [
                "AgentHypervisor", "ProtocolModel", "TestsSupportStore", "TestsSupportWaiting",
                "TestsSupportRandomness",
                "TestsSupportHardware",
            ]),
        tests("Agent/Network", ["AgentNetwork"]),
        tests(
            "Agent/Images",
            [
                "AgentImages", "ManagerImageHeaders", "ManagerImages", "ChunkPlane", "ProcessFiles", "ProtocolTransfer",
                "ProtocolTrust", "ProtocolModel", "TestsSupportRandomness", "TestsSupportStore", "TestsSupportWaiting",
                logging,
            ]),
        tests(
            "Agent/Devices",
            ["AgentDevices", "AgentDurability", "ProtocolModel", "TestsSupportFiles", "TestsSupportRandomness"],
            resources: [.copy("Machines")]),
        room("Tests/Support/Files", ["AgentDurability"]),
        tests("Agent/Durability", ["AgentDurability", "TestsSupportFiles"]),
        room("Tests/Support/Assignments", ["ProtocolModel", "ProtocolMessages", protobuf]),
        tests(
            "Agent/Link",
            [
                "AgentLink", "AgentReconcile", "AgentDurability", "AgentUsage", "TestsSupportAssignments",
                "TestsSupportFiles", "ProtocolModel", "ProtocolMessages", "ProtocolTransfer", "ProtocolWire", protobuf,
            ]),
        tests(
            "Agent/Usage",
            ["AgentUsage", "AgentDurability", "TestsSupportFiles", "ProtocolModel", "ProtocolMessages", protobuf]),
        tests("Agent/Managers", ["AgentManagers", "ProtocolModel"]),
        tests(
            "Agent/Uplink",
            [
                "AgentManagers", "AgentUplink", "ManagerFleetNetwork", "ProtocolWire", "ProtocolTrust", "ProtocolModel",
                "ProtocolMessages", "TestsSupportRandomness", "TestsSupportWaiting", logging, protobuf,
            ]),
        tests(
            "Agent/Daemon",
            [
                "AgentDaemon", "AgentLink", "AgentReconcile", "AgentDurability", "TestsSupportAssignments",
                "TestsSupportFiles", "TestsSupportWaiting", "AgentDevices", "AgentHypervisor", "AgentImages",
                "AgentManagers", "AgentNetwork", "AgentUplink", "AgentUsage", "ChunkPlane", "ManagerFleetNetwork",
                "ProcessSettings",
                "ProcessThreads", "ProtocolModel",
                "ProtocolMessages", "ProtocolTransfer", "ProtocolTrust", "ProtocolWire", lifecycle, protobuf, logging,
            ]),
    ],
    swiftLanguageModes: [.v6]
)

// The parsers of outside input, instrumented: see packaging/fuzz.
if Context.environment["ROOST_FUZZ"] != nil {
    package.targets.append(
        room(
            "Fuzz", ["ProtocolModel", "ProtocolMessages", "ProtocolWire", "ManagerImageHeaders"],
            exclude: ["Driver", "corpus", "findings"]))
    package.products.append(.library(name: "RoostFuzz", type: .static, targets: ["Fuzz"]))
}

// What only the benchmarks use; a normal build leaves it out.
if Context.environment["ROOST_BENCHMARKS"] != nil {
    package.targets.append(
        program(
            "Benchmarks/Measure",
            [
                "ManagerPlacement", "ManagerAccounting", "ManagerStore", "ManagerModel", "ProtocolModel", "CSQLite",
                arguments,
            ]))
    package.products.append(.executable(name: "roost-measure", targets: ["BenchmarksMeasure"]))
    package.targets.append(
        program(
            "Benchmarks/FleetLoad",
            [
                "AgentManagers", "AgentUplink", "ProtocolMessages", "ProtocolModel", "ProtocolTransfer",
                "ProtocolTrust",
                "ProtocolWire", arguments, logging, nio, nioPosix, nioSSL, protobuf,
            ]))
    package.products.append(.executable(name: "roost-fleet-load", targets: ["BenchmarksFleetLoad"]))
}
