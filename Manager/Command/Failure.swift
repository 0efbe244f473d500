import RoostClient

/// What went wrong, in lines for the person who called.
struct Failure: Error, Equatable {
    enum Kind: Equatable {
        /// Exit status 1.
        case failed
        /// The call itself was wrong: exit status 2.
        case usage
        /// The manager refused the token.
        case unauthorised
        /// The manager could not be reached or did not answer.
        case unreachable
        /// The manager answered with this status and code.
        case refused(status: Int, code: String)
    }

    var lines: [String]
    var kind: Kind

    init(_ sentence: String, kind: Kind = .failed) {
        lines = ["error: \(sentence.printable)"]
        self.kind = kind
    }

    init(lines: [String], kind: Kind = .failed) {
        self.lines = lines
        self.kind = kind
    }

    static func usage(_ sentence: String) -> Failure { Failure(sentence, kind: .usage) }

    var exitStatus: Int32 { kind == .usage ? 2 : 1 }

    /// The first sentence without the word in front of it.
    var sentence: String {
        let line = lines.first ?? ""
        return line.hasPrefix("error: ") ? String(line.dropFirst(7)) : line
    }

    /// The same failure, said of something.
    func of(_ subject: String) -> Failure {
        Failure(lines: ["error: \(subject.printable): \(sentence)"] + lines.dropFirst(), kind: kind)
    }

    /// Several failures as one.
    static func together(_ failures: [Failure]) -> Failure {
        Failure(lines: failures.flatMap(\.lines), kind: failures.count == 1 ? failures[0].kind : .failed)
    }
}

extension Failure {
    init(_ error: ClientError) {
        switch error {
        case .problem(let problem): self.init(problem)
        case .connection: self.init(error.description, kind: .unreachable)
        case .invalid(let sentence): self = .usage(sentence)
        case .malformed(let sentence): self.init(sentence)
        case .stillRunning(let operation, _):
            self.init("\(error.description), see 'roost operation wait \(operation)'")
        }
    }

    /// What the manager refused with, and what each of its lines means.
    init(_ problem: Problem) {
        var lines = ["error: \(problem.detail.printable)"]
        for field in problem.fields { lines.append("  \(field.pointer.printable): \(field.detail.printable)") }
        for filter in problem.removedBy where filter.nodes > 0 {
            lines.append(
                "  removed by \(filter.filter.printable): \(filter.nodes) node\(filter.nodes == 1 ? "" : "s")")
        }
        if problem.status == 401 {
            lines.append("  run 'roost login', or set ROOST_TOKEN to a token that is valid")
        }
        self.init(
            lines: lines,
            kind: problem.status == 401 ? .unauthorised : .refused(status: problem.status, code: problem.code))
    }
}

extension Failure: UploadSourceError {}
