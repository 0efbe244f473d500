import AgentImages
import AgentLink
import ProtocolModel
import ProtocolTransfer

/// The image cache as the rest of the daemon sees it.
protocol HostImages: Sendable {
    /// What should be held, all of it. May block for a short while.
    func apply(_ wanted: WantedImages)
    func remove(_ image: ImageID)
    /// From now on, for all transfers.
    func limit(_ limits: TransferLimitsValue)
    func held() -> [HeldImageValue]
    /// The raw file of a complete image.
    func path(of image: ImageID) -> String?
}

extension ImageCache: HostImages {
    func apply(_ wanted: WantedImages) {
        apply(wanted.images, guests: wanted.guests, renewed: wanted.renewed)
    }
}
