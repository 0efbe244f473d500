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
    /// Reads a problem document (RFC 9457), or an error of the token endpoint (RFC 6749 §5.2).
    init(status: Int, body: [UInt8]) {
        let problem = (try? JSONReader.read(body)) ?? .null
        let sentence =
            problem["detail"].text ?? problem["error_description"].text ?? problem["title"].text
            ?? "the manager answered with HTTP status \(status)"
        var lines = ["error: \(sentence.printable)"]
        for field in problem["errors"].items {
            lines.append("  \(field["pointer"].text?.printable ?? "?"): \(field["detail"].text?.printable ?? "")")
        }
        for filter in problem["removed_by"].members {
            guard let hosts = filter.value.integer, hosts > 0 else { continue }
            lines.append("  removed by \(filter.key.printable): \(hosts) node\(hosts == 1 ? "" : "s")")
        }
        if status == 401 { lines.append("  run 'roost login', or set ROOST_TOKEN to a token that is valid") }
        self.init(
            lines: lines,
            kind: status == 401
                ? .unauthorised : .refused(status: status, code: problem["code"].text ?? problem["error"].text ?? ""))
    }
}
