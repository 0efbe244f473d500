import Foundation
import Glibc
import ManagerStore

/// Shows how far a long job is: on standard error, and only where a person sees it.
enum StoreProgress {
    static func maintenance<Result>(_ body: (StoreMaintenance) throws -> Result) throws -> Result {
        guard isatty(STDERR_FILENO) == 1 else { return try body(StoreMaintenance()) }
        defer { FileHandle.standardError.write(Data("\r\u{1B}[K".utf8)) }
        return try body(
            StoreMaintenance { progress in
                FileHandle.standardError.write(Data("\r\u{1B}[K\(progress.step): \(progress.rows) rows".utf8))
            })
    }

    static func total(_ sums: [TableSum]) -> String {
        "\(sums.reduce(0) { $0 + $1.rows }) rows in \(sums.count) tables"
    }
}
