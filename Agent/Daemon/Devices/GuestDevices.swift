import AgentDevices
import AgentReconcile
import ProtocolModel

/// Who gives devices of the host to guests, and takes them back.
protocol GuestDevices: Sendable {
    /// Returns once the devices, and what goes along with them, are this start's and bound to VFIO.
    func claim(_ claim: DeviceClaim, _ addresses: [String]) async throws(ActionFailure) -> GrantedDevices
    /// The start that claimed them has ended; whether a domain has them now.
    func startEnded(_ claim: DeviceClaim, started: Bool)
    /// Returns once the devices of the instance, of which no domain exists, are free or out of service.
    func release(_ instance: InstanceID) async
    /// Domains may have come or gone.
    func lookAgain()
}
