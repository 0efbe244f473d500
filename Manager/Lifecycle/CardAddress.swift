import ProtocolDigest
import ProtocolModel

/// The MAC address of a guest's network card, derived from the IP address that it goes with.
///
/// A DHCP server keeps an address for the card that leased it last. An instance that gets the address of one deleted a
/// moment ago would wait for that lease to end, two minutes with dnsmasq, unless it comes with the same card.
enum CardAddress {
    /// - Parameter attempt: another address for each, for the rare case that two nodes' addresses give the same.
    static func derived(node: NodeID, address: String, attempt: Int) -> String {
        let digest = ContentDigest(hashing: Array("\(node) \(address) \(attempt)".utf8)).bytes
        // The start of QEMU's prefix: administered locally, one receiver (IEEE 802c).
        return (["52", "54"] + digest.prefix(4).map { [$0].hexadecimal }).joined(separator: ":")
    }
}
