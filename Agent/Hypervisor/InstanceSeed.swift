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

    /// What cloud-init runs once, beside what the owner's user data says: for a guest with a graphics device of its host, a
    /// program that tells X where it is (IMG-11). The guest's own PCI bus says so, once it is there.
    var vendorData: String? { configuresX ? Self.xConfiguration : nil }

    static let xConfiguration = #"""
        #!/bin/sh
        # Writes /etc/X11/xorg.conf for the first graphics device that was passed to this guest (image property configure_x).
        [ -e /etc/X11/xorg.conf ] && exit 0
        for device in /sys/bus/pci/devices/*; do
            case "$(cat "$device/class")" in 0x03*) ;; *) continue ;; esac
            case "$(cat "$device/vendor")" in
            0x10de) driver=nvidia ;;
            0x1002) driver=amdgpu ;;
            0x8086) driver=modesetting ;;
            *) continue ;;
            esac
            address="${device##*/}"
            domain="${address%%:*}"; rest="${address#*:}"
            bus="${rest%%:*}"; rest="${rest#*:}"
            slot="${rest%%.*}"; function="${rest#*.}"
            mkdir -p /etc/X11
            printf 'Section "Device"\n    Identifier "GPU"\n    Driver "%s"\n    BusID "PCI:%d@%d:%d:%d"\nEndSection\n' \
                "$driver" "0x$bus" "0x$domain" "0x$slot" "0x$function" >/etc/X11/xorg.conf
            exit 0
        done
        echo "configure_x: this guest has no graphics device of its host" >&2

        """#
}
