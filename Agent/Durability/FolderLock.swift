import Foundation

/// Keeps a second process off a folder for as long as this one lives; the kernel lets go when the process ends, however
/// it ends.
public final class FolderLock: Sendable {
    public enum Failure: Error, Equatable, CustomStringConvertible {
        case held(folder: String)
        case problem(FileProblem)

        public var description: String {
            switch self {
            case .held(let folder):
                "another process works on \(folder); stop it first, or name another folder with --data"
            case .problem(let problem): problem.description
            }
        }
    }

    private let descriptor: Int32

    public init(folder: String) throws(Failure) {
        let path = folder + "/lock"
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw .problem(FileProblem(operation: "open", path: path, code: errno))
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(descriptor)
            throw code == EWOULDBLOCK
                ? .held(folder: folder) : .problem(FileProblem(operation: "lock", path: path, code: code))
        }
        self.descriptor = descriptor
    }

    deinit {
        // Closing alone lets go only when nobody else has the descriptor, and a program that is being started has it until it is.
        flock(descriptor, LOCK_UN)
        close(descriptor)
    }
}
