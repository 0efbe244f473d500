import Crypto
import Foundation

/// The OpenAPI document as a page for people: plain HTML with a style of its own, no script, nothing from outside.
enum DocumentPage {
    static let type = "text/html; charset=utf-8"

    /// What a browser may load for it: this one style.
    static var policy: String {
        let digest = Data(SHA256.hash(data: Array(style.utf8))).base64EncodedString()
        return
            "default-src 'none'; style-src 'sha256-\(digest)'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    }

    static func make(_ document: JSONValue) -> String {
        let operations = operations(of: document)
        let tags = document["tags"]?.array ?? []
        var page = """
            <!doctype html><html lang="en"><head><meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>Roost API</title><style>\(style)</style></head><body>
            <header><h1>Roost API <small>\(text(document["info"]?["version"]))</small></h1>
            <p>\(text(document["info"]?["description"]))</p>
            <p>The same for programs: <a href="/v1/openapi.json">OpenAPI 3.1</a>.</p></header>
            <nav><h2>Contents</h2><ul>
            """
        for tag in tags {
            let name = tag["name"]?.string ?? ""
            page +=
                "<li><a href=\"#\(escape(name))\">\(escape(DocumentTag.title(name)))</a> \(text(tag["description"]))</li>"
        }
        page += "<li><a href=\"#problems\">Problems</a> What errors are called.</li>"
        page += "<li><a href=\"#objects\">Objects</a> What bodies and answers hold.</li></ul></nav><main>"
        for tag in tags {
            let name = tag["name"]?.string ?? ""
            page += "<section id=\"\(escape(name))\"><h2>\(escape(DocumentTag.title(name)))</h2>"
            for operation in operations where operation.value["tags"]?.array?.first == tag["name"] {
                page += section(operation)
            }
            page += "</section>"
        }
        return page + problems(document) + objects(document) + "</main></body></html>\n"
    }

    // MARK: Operations

    private struct Operation {
        var method: String
        var path: String
        var value: JSONValue
    }

    private static func operations(of document: JSONValue) -> [Operation] {
        (document["paths"]?.members ?? []).flatMap { path in
            (path.value.members ?? []).map {
                Operation(method: $0.name.uppercased(), path: path.name, value: $0.value)
            }
        }
    }

    private static func section(_ operation: Operation) -> String {
        let value = operation.value
        let identifier = escape(value["operationId"]?.string ?? "")
        let isOpen = value["security"]?.array?.isEmpty ?? true
        var text = """
            <article id="\(identifier)"><h3><code><b>\(escape(operation.method))</b> \(escape(operation.path))</code></h3>
            <p>\(self.text(value["summary"])). <small>\
            \(isOpen ? "Open to all." : "Needs the permission <code>\(self.text(value["x-permission"]))</code>, which reaches: \(reaches(value["x-reach"])).")</small></p>
            """
        let parameters = value["parameters"]?.array ?? []
        if !parameters.isEmpty {
            text += table(
                ["Parameter", "In", "Type", ""],
                parameters.map {
                    [code($0["name"]), self.text($0["in"]), kind($0["schema"]), self.text($0["description"])]
                })
        }
        if let body = value["requestBody"] { text += "<h4>Body</h4>" + contents(body) }
        text += "<h4>Answers</h4><dl>"
        for answer in value["responses"]?.members ?? [] where answer.value["$ref"] == nil && answer.name != "default" {
            text +=
                "<dt>\(escape(answer.name)) \(self.text(answer.value["description"]))</dt><dd>\(contents(answer.value))\(links(answer.value))</dd>"
        }
        let others = (value["responses"]?.members ?? []).filter { $0.value["$ref"] != nil }.map(\.name)
        if !others.isEmpty {
            text += "<dt>\(escape(others.joined(separator: ", ")))</dt><dd><a href=\"#problems\">Problem</a></dd>"
        }
        return text + "</dl></article>"
    }

    /// For each role of the system that has a permission, whose things it reaches.
    private static func reaches(_ value: JSONValue?) -> String {
        (value?.members ?? []).map { "\(escape($0.name)) \(text($0.value))" }.joined(separator: ", ")
    }

    private static func contents(_ value: JSONValue) -> String {
        (value["content"]?.members ?? []).map { content in
            var text = "<p><code>\(escape(content.name))</code> \(kind(content.value["schema"]))</p>"
            if let example = content.value["example"], example != .null {
                text += "<details><summary>Example</summary><pre>\(escape(indented(example)))</pre></details>"
            }
            return text
        }.joined()
    }

    /// What can be done with what an answer holds.
    private static func links(_ answer: JSONValue) -> String {
        let links = (answer["links"]?.members ?? []).map { link in
            "<a href=\"#\(escape(link.name))\">\(text(link.value["description"]))</a>"
        }
        return links.isEmpty ? "" : "<p>Then: \(links.joined(separator: "; "))</p>"
    }

    // MARK: Problems and objects

    private static func problems(_ document: JSONValue) -> String {
        let rows = (document["x-problems"]?.members ?? []).map { problem in
            [
                "<code>\(escape(problem.name))</code>", "\(problem.value["status"]?.integer ?? 0)",
                text(problem.value["title"]),
            ]
        }
        return """
            <section id="problems"><h2>Problems</h2><p>An error is a document of type <code>application/problem+json</code> \
            (RFC 9457) as <a href="#Problem">Problem</a> tells. Its <code>type</code> is <code>urn:roost:problem:</code> and the code.</p>
            \(table(["Code", "Status", "Title"], rows))</section>
            """
    }

    private static func objects(_ document: JSONValue) -> String {
        var text = "<section id=\"objects\"><h2>Objects</h2>"
        for object in document["components"]?["schemas"]?.members ?? [] {
            let required = Set((object.value["required"]?.array ?? []).compactMap(\.string))
            text += "<article id=\"\(escape(object.name))\"><h3>\(escape(object.name))</h3>"
            let rows = (object.value["properties"]?.members ?? []).map { property in
                [
                    "<code>\(escape(property.name))</code>"
                        + (required.contains(property.name) ? "" : " <small>optional</small>"),
                    kind(property.value), self.text(property.value["description"]),
                ]
            }
            text += rows.isEmpty ? "<p>Empty.</p>" : table(["Member", "Type", ""], rows)
            text += "</article>"
        }
        return text + "</section>"
    }

    /// A schema in a few words.
    private static func kind(_ schema: JSONValue?) -> String {
        guard let schema else { return "" }
        if let name = schema["$ref"]?.string?.split(separator: "/").last.map(String.init) {
            return "<a href=\"#\(escape(name))\">\(escape(name))</a>"
        }
        if let choices = schema["anyOf"]?.array { return choices.map(kind).joined(separator: " or ") }
        if let words = schema["enum"]?.array {
            return words.compactMap(\.string).map { "<code>\(escape($0))</code>" }.joined(separator: " ")
        }
        if schema["type"] == "array" { return "list of " + kind(schema["items"]) }
        if let element = schema["additionalProperties"], element.members != nil { return "object of " + kind(element) }
        if let properties = schema["properties"]?.members {
            return properties.map { "<code>\(escape($0.name))</code>: \(kind($0.value))" }.joined(separator: ", ")
        }
        let type =
            schema["type"]?.string ?? schema["type"]?.array?.compactMap(\.string).joined(separator: " or ")
            ?? "anything"
        return escape(type) + bounds(schema)
    }

    private static func bounds(_ schema: JSONValue) -> String {
        if let format = schema["format"]?.string { return " (\(escape(format)))" }
        if let least = schema["minimum"]?.number, let most = schema["maximum"]?.number {
            return " \(escape(JSONValue.number(least).plain)) to \(escape(JSONValue.number(most).plain))"
        }
        return ""
    }

    // MARK: Text

    private static func table(_ heads: [String], _ rows: [[String]]) -> String {
        let head = heads.map { "<th>\($0)</th>" }.joined()
        let body = rows.map { "<tr>" + $0.map { "<td>\($0)</td>" }.joined() + "</tr>" }.joined()
        return "<div><table><tr>\(head)</tr>\(body)</table></div>"
    }

    private static func code(_ value: JSONValue?) -> String { "<code>\(text(value))</code>" }

    private static func text(_ value: JSONValue?) -> String { escape(value?.string ?? "") }

    static func escape(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;").replacing("'", with: "&#39;")
    }

    /// JSON as people read it.
    private static func indented(_ value: JSONValue, _ depth: Int = 0) -> String {
        let margin = String(repeating: "  ", count: depth + 1)
        let end = String(repeating: "  ", count: depth)
        switch value {
        case .object(let members) where !members.isEmpty:
            let lines = members.map { margin + JSONValue.string($0.name).plain + ": " + indented($0.value, depth + 1) }
            return "{\n" + lines.joined(separator: ",\n") + "\n" + end + "}"
        case .array(let values) where !values.isEmpty:
            return "[\n" + values.map { margin + indented($0, depth + 1) }.joined(separator: ",\n") + "\n" + end + "]"
        default: return value.plain
        }
    }

    private static let style = """
        :root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}\
        h1,h2{line-height:1.2}h2{border-bottom:1px solid #8884;padding-bottom:.3rem;margin-top:2.5rem}\
        article{margin:1.5rem 0;padding-left:1rem;border-left:3px solid #8884}h3{margin:0}h4{margin:.8rem 0 .2rem}\
        code,pre{font-family:ui-monospace,monospace;font-size:.9em;overflow-wrap:anywhere}\
        pre{background:#8881;padding:.8rem;overflow-x:auto}div{overflow-x:auto}table{border-collapse:collapse;width:100%}\
        th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8883}\
        dd{margin:0 0 .4rem 1rem}dd p{margin:0}small{opacity:.75;font-weight:normal}
        """
}

extension JSONValue {
    fileprivate var plain: String { String(decoding: bytes, as: UTF8.self) }
}
