import Foundation
import Testing
import TestsSupportWaiting

@testable import AgentHypervisor

/// A libvirtd of a test's own, which may be killed at will: its state lies in the test's folder, by a mount namespace,
/// and outlives it as on a real host.
final class PrivateLibvirtd {
    let folder: String
    private var process: Process?

    var uri: String { "qemu+unix:///system?socket=\(folder)/socket/libvirt-sock" }

    init(folder: String) throws {
        self.folder = folder
        for name in ["socket", "run", "lib", "cache", "etc", "log"] {
            try FileManager.default.createDirectory(atPath: folder + "/" + name, withIntermediateDirectories: true)
        }
        let settings = """
            unix_sock_dir = "\(folder)/socket"
            auth_unix_rw = "none"
            """
        try Data(settings.utf8).write(to: URL(filePath: folder + "/etc/libvirtd.conf"))
        // Without virtlogd, which a test cannot share.
        try Data("stdio_handler = \"file\"\n".utf8).write(to: URL(filePath: folder + "/etc/qemu.conf"))
    }

    func start() async throws {
        let script = """
            set -e
            for pair in run:/run/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt etc:/etc/libvirt log:/var/log/libvirt
            do mkdir -p "${pair#*:}"; mount --bind "$1/${pair%%:*}" "${pair#*:}"; done
            exec libvirtd -f /etc/libvirt/libvirtd.conf -p "$1/pid"
            """
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/unshare")
        process.arguments = ["--mount", "--propagation", "private", "sh", "-c", script, "sh", folder]
        let log = folder + "/libvirtd.log"
        if !FileManager.default.fileExists(atPath: log) { try Data().write(to: URL(filePath: log)) }
        let handle = try FileHandle(forWritingTo: URL(filePath: log))
        try handle.seekToEnd()
        process.standardError = handle
        try process.run()
        self.process = process
        try await eventually("a private libvirtd listens; see \(log)") {
            guard process.isRunning else {
                throw Expired(description: try String(contentsOfFile: log, encoding: .utf8))
            }
            let answer = try? await HostProgram.exitStatus(
                "virsh", ["-q", "-c", uri, "version"], limit: .seconds(10))
            return answer?.code == 0
        }
    }

    /// Keeps its sockets, and answers nothing.
    func hang() throws { try signal(SIGSTOP) }

    func goOn() throws { try signal(SIGCONT) }

    private func signal(_ number: Int32) throws {
        let process = try #require(process)
        try #require(Foundation.kill(process.processIdentifier, number) == 0)
    }

    /// Without a word, as a crash ends it.
    func kill() async throws {
        guard let process else { return }
        Foundation.kill(process.processIdentifier, SIGKILL)
        try await eventually("libvirtd ends") { !process.isRunning }
        self.process = nil
    }
}
