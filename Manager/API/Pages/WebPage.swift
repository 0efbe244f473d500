import Crypto
import Foundation

/// A page that people meet outside the portal, such as the one where they sign in: HTML and a style of its own, nothing from
/// elsewhere and no script, in nobody's frame.
struct WebPage {
    static let type = "text/html; charset=utf-8"

    var title: String
    var content: [HTML]
    /// Where its forms lead besides here: browsers apply this to redirects, too.
    var formTargets: [String] = []

    init(_ title: String, _ content: HTML..., formTargets: [String] = []) {
        self.title = title
        self.content = content
        self.formTargets = formTargets
    }

    func answer(status: Int = 200, headers: [(name: String, value: String)] = []) -> Answer {
        let html: HTML = """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>\(title) – Roost</title>
            <style>\(HTML(stringLiteral: Self.style))</style>
            </head>
            <body>
            <main>
            <h1>\(title)</h1>
            \(HTML(joining: content))
            </main>
            </body>
            </html>

            """
        return Answer(
            status: status, headers: headers + securityHeaders, body: .bytes(Array(html.text.utf8), type: Self.type))
    }

    private var securityHeaders: [(name: String, value: String)] {
        let targets = (["'self'"] + formTargets).joined(separator: " ")
        return [
            (
                "Content-Security-Policy",
                "default-src 'none'; style-src '\(Self.styleHash)'; form-action \(targets); base-uri 'none'; "
                    + "frame-ancestors 'none'"
            ),
            ("X-Frame-Options", "DENY"), ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
        ]
    }

    private static let styleHash = "sha256-" + Data(SHA256.hash(data: Array(style.utf8))).base64EncodedString()

    private static let style = """
        :root { color-scheme: light dark; --edge: #8886; --accent: #1a5fb4; }
        body { margin: 0; font: 1rem/1.5 system-ui, sans-serif; }
        main { max-width: 26rem; margin: 10vh auto 2rem; padding: 0 1rem; }
        h1 { font-size: 1.4rem; }
        label { display: block; margin: 1rem 0 0.2rem; font-weight: 600; }
        input { width: 100%; box-sizing: border-box; padding: 0.5rem; font: inherit; border: 1px solid var(--edge);
            border-radius: 0.3rem; }
        button { margin: 1.2rem 0.5rem 0 0; padding: 0.5rem 1.2rem; font: inherit; border: 1px solid var(--edge);
            border-radius: 0.3rem; cursor: pointer; }
        button.main { background: var(--accent); border-color: var(--accent); color: #fff; }
        .problem { padding: 0.6rem 0.8rem; border-left: 0.25rem solid #c01c28; background: #c01c2818; }
        .note { color: #777; font-size: 0.9rem; }
        code { font-size: 1.1em; letter-spacing: 0.08em; }
        """
}

/// Parts that several pages have.
extension WebPage {
    static func problem(_ sentence: String?) -> HTML {
        guard let sentence else { return "" }
        return "<p class=\"problem\" role=\"alert\">\(Problem.sentence(sentence))</p>"
    }

    static func hidden(_ fields: [(name: String, value: String)]) -> HTML {
        HTML(joining: fields.map { "<input type=\"hidden\" name=\"\($0.name)\" value=\"\($0.value)\">" })
    }

    static func text(_ name: String, _ label: String, value: String = "", autocomplete: String = "off") -> HTML {
        """
        <label for="\(name)">\(label)</label>
        <input id="\(name)" name="\(name)" value="\(value)" autocomplete="\(autocomplete)" autocapitalize="none" \
        spellcheck="false" required>
        """
    }

    static func password(_ name: String = "password", _ label: String = "Password", isNew: Bool = false) -> HTML {
        """
        <label for="\(name)">\(label)</label>
        <input id="\(name)" name="\(name)" type="password" autocomplete="\(isNew ? "new-password" : "current-password")">
        """
    }

    /// What a token of this scope lets its holder do, in a sentence.
    static func covers(_ scope: String) -> HTML {
        scope == "*"
            ? "<p>It will be able to do all that you may do.</p>"
            : "<p>It will be able to do this as you: <strong>\(scope)</strong>.</p>"
    }
}
