/// Modules of the host's kernel.
public enum KernelModule {
    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    /// Repeating it is harmless. Needs the rights of root.
    public static func load(_ name: String) async throws(Failure) {
        do {
            try await HostProgram.run("modprobe", ["--", name])
        } catch {
            throw Failure(description: "the kernel's module \(name) cannot be loaded: \(error)")
        }
    }
}
