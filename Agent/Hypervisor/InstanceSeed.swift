extension InstanceFolder.Seed {
    /// cloud-init reads meta-data as YAML, of which JSON is a part: one writer escapes everything.
    var metaDataText: String {
        JSONText.object([
            ("instance-id", .string("\(instance)")),
            ("local-hostname", .string(hostName)),
            ("public-keys", .array(sshKeys.map { .string($0) })),
            ("roost_metadata", .object(metadata.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) })),
        ]).description + "\n"
    }

    /// The owner's user data as it is; where there is none, a minimal document that sets host name and keys.
    var userDataBytes: [UInt8] {
        guard userData.isEmpty else { return userData }
        let document = JSONText.object([
            ("hostname", .string(hostName)),
            ("ssh_authorized_keys", .array(sshKeys.map { .string($0) })),
        ])
        return Array("#cloud-config\n\(document)\n".utf8)
    }
}
