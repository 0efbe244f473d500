import AgentReconcile
import ProtocolMessages
import ProtocolModel
import SwiftProtobuf

extension Status {
    var message: Roost_V1_InstanceStatus {
        .with {
            $0.instanceID = instance.bytes
            $0.epoch = epoch.value
            $0.generation = generation.value
            $0.state = state.message
            $0.reasonCode = code
            $0.reason = reason
            $0.atMs = at.milliseconds
            $0.powerCycle = powerCycle.value
            $0.domainStartedMs = domainStartedAt?.milliseconds ?? 0
            $0.failureFinal = failureIsFinal
            $0.devices = devices
        }
    }
}

extension Status.State {
    fileprivate var message: Roost_V1_ObservedState {
        switch self {
        case .preparing: .preparing
        case .starting: .starting
        case .running: .running
        case .stopping: .stopping
        case .stopped: .stopped
        case .failed: .failed
        case .deleted: .deleted
        }
    }
}
