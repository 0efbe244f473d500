/// What stands in the document as an example: made from the schemas, so that it cannot differ from them, with values that
/// people know from a site.
enum Examples {
    private static let identifier: JSONValue = "01939f6c-52a4-7c31-9d0e-5b1f0c7e8a42"
    private static let publicKey: JSONValue =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJmyy1PkQFh5YCZ1Hs5cGBCbcsVv2n8YJTcIcCJUrNtE ann@laptop"

    /// By the name of a field; `Object.field` where an object's is another. `Creation` and `Change` at the end of an object's
    /// name do not count.
    private static let values: [String: JSONValue] = [
        "name": "web-1", "Flavor.name": "small", "Image.name": "debian-12", "Node.name": "cn42",
        "NodeItem.name": "cn42",
        "User.name": "ann", "Account.name": "physics", "Group.name": "lab", "KeyPair.name": "laptop",
        "ServerGroup.name": "web-apart", "ServerGroupItem.name": "web-apart", "server_group": "web-apart",
        "ServerGroup.policy": "anti-affinity", "ServerGroupItem.policy": "anti-affinity", "max_per_host": .null,
        "Aggregate.name": "gpu-hosts", "PrefillPolicy.name": "debian-everywhere",
        "PrefillPolicyItem.name": "debian-everywhere", "Manager.name": "manager-1", "OperationStep.name": "placed",
        "ResourceReference.name": "web-1", "Role.name": "image-curator", "ApiKey.name": "nightly",
        "flavor": "small", "image": "debian-12", "node": "cn42", "owner": "ann", "user": "ann", "account": "physics",
        "actor": "ann", "username": "ann", "full_name": "Ann Example", "unix_name": "ann", "instance": "web-1",
        "aggregate": "gpu-hosts", "key_name": "laptop", "host_name": "web-1", "node_name": "cn42", "resource": "web-1",
        "email": "ann@example.org", "password": "correct horse battery staple",
        "current_password": "correct horse battery staple",
        "public_key": publicKey, "fingerprint": "SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8",
        "KeyPair.type": "ssh-ed25519", "KeyPairCreated.type": "ssh-ed25519", "KeyPairCreated.name": "laptop",
        "private_key": "-----BEGIN OPENSSH PRIVATE KEY-----\n…\n-----END OPENSSH PRIVATE KEY-----\n", "vcpus": 2,
        "ram_mib": 2048, "disk_gib": 20, "size_bytes": 2_147_483_648,
        "addresses": ["192.168.122.10"], "address": "cn42.example.org:7402", "PCIDevice.address": "0000:3b:00.0",
        "sets": [["0000:3b:00.0", "0000:86:00.0"]],
        "created_at": "2026-11-21T10:00:00Z", "updated_at": "2026-11-21T10:05:00Z", "since": "2026-11-21T10:00:00Z",
        "expires_at": "2026-12-21T10:00:00Z", "from": "2026-11-01", "to": "2026-11-21", "day": "2026-11-21",
        "checksum": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "url": "https://images.example.org/debian-12.qcow2", "user_data": "I2Nsb3VkLWNvbmZpZwo=",
        "metadata": ["purpose": "web"], "properties": ["hw_disk_bus": "virtio"], "Flavor.properties": ["gpu": "false"],
        "Aggregate.metadata": ["availability_zone": "denver"], "status_reason": "", "status_code": "",
        "type": "urn:roost:problem:not_found", "title": "Not found", "Problem.status": 404, "Problem.code": "not_found",
        "detail": "There is no flavor 'smal'; did you mean 'small'?", "pointer": "/flavor",
        "FieldError.detail": "did you mean 'small'?", "grant_type": "password", "access_token": "eyJhbGciOiJFUzI1NiIs…",
        "refresh_token": "rt_8Gq2…", "token": "jt_4fWc…", "token_type": "Bearer", "expires_in": 900, "scope": "",
        "next": .null, "kind": "instance.created", "Operation.kind": "image.prefill",
        "ResourceReference.kind": "instance",
        "request_id": "4f1c2a9e7b6d4e0f8a3b5c7d9e1f2a3b", "version": "0.1.0", "architecture": "x86_64",
        "cpu_model": "AMD EPYC 9354", "location": "room 2, rack 7", "reason": "memory is exchanged", "format": "qcow2",
        "power_state": "running", "InstanceStatus": "ACTIVE", "status": "active", "Instance.status": "ACTIVE",
        "server_hours": .number(12.5), "vcpu_hours": 25, "ram_mib_hours": 25_600, "sequence": 4711, "progress": 100,
        "nodes": ["cn42", "cn43"], "SiteTransfers.total_bytes_per_second": 1_250_000_000, "limit": 100, "count": 1,
        "ref": "web-1", "state": "held", "permissions": ["instance_read": "own"], "roles": ["user"], "role": "user",
        "pattern": "*@example.org", "scopes": ["instances:read"], "enabled": true, "ok": true, "built_in": true,
        "ready": true, "fields": "id,name", "alias": "K2_Grid", "action": "alias", "vendor_id": "10de",
        "product_id": "11bf", "subsystem_vendor_id": "10de", "subsystem_product_id": "100a",
        "Device.class": "030000", "Device.address": "0000:3b:00.0", "Device.status": "free", "Device.reason": "",
        "Device.name": "NVIDIA Corporation GK104GL [GRID K2]", "Device.aliases": ["K2_Grid"], "driver": "nvidia",
        "group_members": ["0000:3b:00.1"], "Device.quarantined_at": .null,
        "DeviceQuarantine.reason": "its fan is stuck",
        "free": 2, "free_on_one_node": 2, "in_use": 5, "offline": 1, "disabled": 0, "quarantined": 0, "total": 8,
        "sort": "name,-created_at",
        "windows": "20:00-06:00 Mon-Fri drain from 05:30 mode shutdown", "time_zone": "Europe/Berlin",
        "until": "2026-12-01T06:00:00Z", "mode": "stop", "disabled_by": "root", "NodeFilling.name": "wn",
        "stopped_by": "no_capacity",
        "redirect_uri": "http://127.0.0.1:8400/callback",
        "client_id": "roost", "response_type": "code", "code_challenge_method": "S256",
    ]

    /// Whole objects where fields exclude each other or only some of them make sense together.
    private static let objects: [String: JSONValue] = [
        "TokenRequest": ["grant_type": "password", "username": "ann", "password": "correct horse battery staple"],
        "ImageCreation": ["name": "debian-12", "format": "qcow2", "properties": ["hw_disk_bus": "virtio"]],
        "InstanceCreation": ["name": "web-1", "flavor": "small", "image": "debian-12", "key_name": "laptop"],
        "InstanceChange": ["name": "web-2", "metadata": ["purpose": "web", "obsolete": .null]],
        "KeyPairCreation": ["name": "laptop", "public_key": publicKey],
        "UserChange": ["full_name": "Ann Example"],
        "DeviceMatch": ["vendor_id": "10de", "product_id": "11bf"],
        "DeviceRuleCreation": [
            "action": "alias", "alias": "K2_Grid", "match": ["vendor_id": "10de", "product_id": "11bf"],
        ],
        "DeviceRuleChange": ["match": ["product_id": "11bf", "node": .null], "description": "GRID K2"],
        "PlacementQuestion": ["flavor": "small", "image": "debian-12"],
        "NodeChange": ["location": "room 2, rack 7"],
        "Problem": [
            "type": "urn:roost:problem:not_found", "title": "Not found", "status": 404,
            "detail": "There is no flavor 'smal'; did you mean 'small'?", "code": "not_found",
            "instance": "urn:roost:request:4f1c2a9e7b6d4e0f8a3b5c7d9e1f2a3b",
        ],
    ]

    /// Of a body that is sent: what must be there, and what need not be where nothing must.
    static func request(_ object: ObjectSchema) -> JSONValue {
        if let whole = objects[object.name] { return whole }
        let required = object.fields.filter(\.isRequired)
        return value(object, required.isEmpty ? object.fields : required)
    }

    /// Of an answer: all of it.
    static func answer(_ object: ObjectSchema) -> JSONValue { objects[object.name] ?? value(object, object.fields) }

    static func parameter(_ name: String, _ schema: Schema) -> JSONValue { value(schema, field: name, of: "") }

    private static func value(_ object: ObjectSchema, _ fields: [ObjectSchema.Field]) -> JSONValue {
        .object(fields.map { .init($0.name, value($0.schema, field: $0.name, of: object.name)) })
    }

    private static func value(_ schema: Schema, field: String, of object: String) -> JSONValue {
        for key in keys(field, object) {
            if let known = values[key], SchemaCheck.faults(of: known, in: schema).isEmpty { return known }
        }
        return plain(schema, field: field, of: object)
    }

    private static func keys(_ field: String, _ object: String) -> [String] {
        let noun = ["Creation", "Change"].first { object.hasSuffix($0) }.map { String(object.dropLast($0.count)) }
        return ["\(object).\(field)"] + (noun.map { ["\($0).\(field)"] } ?? []) + [field]
    }

    private static func plain(_ schema: Schema, field: String, of object: String) -> JSONValue {
        switch schema {
        // An example must be harmless where somebody sends it as it is.
        case .boolean: return false
        case .integer(let range): return .integer(range.lowerBound)
        case .number(let range): return .number(range.lowerBound)
        case .string(let rule): return text(rule, field)
        case .choice(let words): return .string(words.first ?? "")
        case .array(let element, _, _): return [value(element, field: field, of: object)]
        case .map(let element, _): return .object([.init("key", value(element, field: "value", of: object))])
        case .object(let inner): return objects[inner.name] ?? value(inner, inner.fields)
        case .nullable(let inner): return value(inner, field: field, of: object)
        case .freeObject: return [:]
        }
    }

    private static func text(_ rule: TextRule, _ field: String) -> JSONValue {
        switch rule.format {
        case "uuid": return identifier
        case "date-time": return "2026-11-21T10:00:00Z"
        case "date": return "2026-11-21"
        case "uri": return "https://images.example.org/debian-12.qcow2"
        default: break
        }
        let word = field.hasSuffix("_address") ? "manager-1.example.org:7401" : field
        let padded = word + String(repeating: "0", count: max(0, rule.lengths.lowerBound - word.count))
        return .string(String(padded.prefix(rule.lengths.upperBound)))
    }
}
