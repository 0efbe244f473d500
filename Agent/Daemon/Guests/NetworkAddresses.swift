import AgentHypervisor
import AgentReconcile
import ProtocolModel
import Synchronization

/// Addresses by reservations in the guests' network, as the manager chose them.
final class NetworkAddresses: GuestAddresses {
    private struct Card {
        var mac: String
        var address: String
    }

    var network: String { libvirt.name }
    private let libvirt: LibvirtNetwork
    /// What instances have, or had until their reservation is ended: whoever ends one is told the instance alone.
    private let cards = Mutex<[InstanceID: Card]>([:])

    init(_ libvirt: LibvirtNetwork) { self.libvirt = libvirt }

    func learn(_ change: AssignmentChange) {
        let assignments =
            switch change {
            case .full(let all): all
            case .delta(let changed, _): changed
            }
        cards.withLock { cards in
            for assignment in assignments {
                cards[assignment.instance] = Card(
                    mac: assignment.guest.macAddress, address: assignment.guest.ipAddress)
            }
        }
    }

    /// Each time: the network may have been removed by hand, and looking costs a millisecond.
    func prepare() async throws(ActionFailure) {
        do throws(HypervisorError) {
            try await libvirt.ensure()
        } catch {
            throw ActionFailure(error)
        }
    }

    func reserve(_ assignment: Assignment) async throws(ActionFailure) {
        do throws(HypervisorError) {
            try await libvirt.reserve(mac: assignment.guest.macAddress, address: assignment.guest.ipAddress)
        } catch {
            throw ActionFailure(error)
        }
    }

    func release(_ instance: InstanceID) async throws(ActionFailure) {
        guard let card = cards.withLock({ $0[instance] }) else { return }
        do throws(HypervisorError) {
            try await libvirt.release(mac: card.mac, address: card.address)
        } catch {
            throw ActionFailure(error)
        }
        cards.withLock { cards in
            if cards[instance]?.mac == card.mac { cards[instance] = nil }
        }
    }
}
