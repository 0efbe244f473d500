import ManagerModel
import ManagerStore
import ProtocolModel

extension Commands {
    /// What a guest of a flavor and an image has where it is other than ordinary. Properties were checked when they were set;
    /// what is older than the checks, or does not go together, is told to whoever asks for an instance.
    ///
    /// - Parameter image: `nil`: any that says nothing of hardware.
    /// - Throws: `Refusal.unprocessable`.
    func hardware(
        of flavor: Flavor, _ requirements: FlavorRequirements, _ image: Image?
    ) throws(Refusal) -> GuestHardware {
        let properties = image?.properties ?? [:]
        var hardware = GuestHardware()
        // Nearly every guest.
        guard !properties.isEmpty || !requirements.limits.isEmpty else { return hardware }
        hardware.limits = requirements.limits
        do throws(GuestHardware.Fault) {
            for property in GuestHardware.Property.allCases {
                if let value = properties[property.rawValue] { try hardware.take(value, for: property) }
            }
            if let fault = hardware.contradictions.first { throw fault }
        } catch {
            throw Self.refusal(
                "image '\(image?.name ?? "")' cannot be run with flavor '\(flavor.name)': \(error.property) \(error.detail)"
            )
        }
        // How processors are arranged is a preference: one image is for flavors of all sizes.
        if (try? hardware.topology(vcpus: flavor.vcpus)) == nil {
            (hardware.sockets, hardware.cores, hardware.threads) = (nil, nil, nil)
        }
        if let wanted = hardware.videoRAMMiB, let most = requirements.videoRAMMiB, wanted > most {
            throw Self.refusal(
                "image '\(image?.name ?? "")' asks for \(wanted) MiB of video RAM (hw_video_ram), and flavor '\(flavor.name)' "
                    + "gives at most \(most) (hw_video:ram_max_mb); choose another flavor")
        }
        return hardware
    }

    /// An agent that was replaced by an older one would start the guest as an ordinary one, on others' processors perhaps.
    ///
    /// - Throws: `Refusal.conflict`.
    func checkHardware(of instance: Instance, isHeededBy node: Node) throws(Refusal) {
        func refuse(_ what: String, _ remedy: String) -> Refusal {
            Refusal(
                .conflict,
                "instance '\(instance.name)' has \(what), and node '\(node.name)', which holds its disk, \(remedy)")
        }
        if instance.place != nil, node.inventory.topology == nil {
            throw refuse(
                "processors or memory of its own",
                "does not say which processors it has; update its agent, and see that it can read /sys")
        }
        guard !instance.hardware.isEmpty || instance.place != nil, node.inventory.shapesHardware != true else { return }
        throw refuse(
            instance.place == nil ? "hardware that is not ordinary" : "processors or memory of its own",
            "has an agent that is too old to give it that; update its agent")
    }

    private static func refusal(_ sentence: String) -> Refusal {
        Refusal(.unprocessable, sentence, fields: [.init(pointer: "/image", detail: "asks for what cannot be given")])
    }
}
