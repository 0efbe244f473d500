import Foundation
public import ProtocolMessages
public import ProtocolModel
import SwiftProtobuf

/// Identifiers and messages that tests of the agent share.
public let firstInstance = InstanceID("01900000-0000-7000-8000-000000000001")!
public let secondInstance = InstanceID("01900000-0000-7000-8000-000000000002")!
public let someImage = ImageID("01900000-0000-7000-8000-0000000000aa")!

public func instanceMessage(
    _ id: InstanceID, _ desired: Roost_V1_DesiredState = .running, generation: UInt64 = 1, cycle: UInt64 = 1
) -> Roost_V1_InstanceAssignment {
    .with {
        $0.instanceID = id.bytes
        $0.imageID = someImage.bytes
        $0.epoch = 1
        $0.generation = generation
        $0.desired = desired
        $0.powerCycle = cycle
        $0.name = "vm"
        $0.vcpus = 1
        $0.memoryBytes = 1 << 30
        $0.bootTimeoutSeconds = 180
        $0.stopTimeoutSeconds = 90
        $0.readinessProbe = true
    }
}

public func imageMessage(_ id: ImageID = someImage) -> Roost_V1_ImageAssignment {
    .with {
        $0.imageID = id.bytes
        $0.manifestDigest = Data(repeating: 7, count: 32)
        $0.sizeBytes = 4096
    }
}

public func fullSet(_ revision: UInt64, _ instances: [Roost_V1_InstanceAssignment]) -> Roost_V1_AssignmentSet {
    .with {
        $0.revision = revision
        $0.full = true
        $0.instances = instances
        $0.images = [imageMessage()]
    }
}
