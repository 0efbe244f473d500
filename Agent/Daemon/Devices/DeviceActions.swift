import AgentDevices
import AgentHypervisor
import Synchronization

/// What is done to devices of the host. All but `prepare` block, some for as long as a device likes to hang.
protocol DeviceActions: Sendable {
    /// Whatever the first binding needs.
    func prepare() async throws(DeviceProblem)
    func bind(_ addresses: [String], _ abandonment: Abandonment) throws(DeviceProblem)
    func reset(_ address: String, _ abandonment: Abandonment) throws(DeviceProblem)
    func verify(_ address: String) throws(DeviceProblem)
    func giveBack(_ address: String, _ abandonment: Abandonment) throws(DeviceProblem)
}

/// By the kernel's own means.
struct HostDeviceActions: DeviceActions {
    private let binding: DeviceBinding
    private let resetting: DeviceReset

    init(sysfsRoot: String) {
        binding = DeviceBinding(sysfsRoot: sysfsRoot)
        resetting = DeviceReset(sysfsRoot: sysfsRoot)
    }

    func prepare() async throws(DeviceProblem) {
        guard !binding.isReady else { return }
        do throws(KernelModule.Failure) {
            try await KernelModule.load(DeviceBinding.driver)
        } catch {
            throw DeviceProblem(description: error.description)
        }
    }

    func bind(_ addresses: [String], _ abandonment: Abandonment) throws(DeviceProblem) {
        for address in addresses { try binding.bind(address, abandonment) }
    }

    func reset(_ address: String, _ abandonment: Abandonment) throws(DeviceProblem) {
        try resetting.reset(address, abandonment)
    }

    func verify(_ address: String) throws(DeviceProblem) {
        if let problem = try resetting.read(address).problem { throw DeviceProblem(description: problem) }
    }

    func giveBack(_ address: String, _ abandonment: Abandonment) throws(DeviceProblem) {
        try binding.giveBack(address, abandonment)
    }
}

/// For guests that only pretend (`hypervisor.uri: memory:`): nothing is touched, and everything succeeds.
struct PretendedDeviceActions: DeviceActions {
    func prepare() async throws(DeviceProblem) {}
    func bind(_ addresses: [String], _ abandonment: Abandonment) throws(DeviceProblem) {}
    func reset(_ address: String, _ abandonment: Abandonment) throws(DeviceProblem) {}
    func verify(_ address: String) throws(DeviceProblem) {}
    func giveBack(_ address: String, _ abandonment: Abandonment) throws(DeviceProblem) {}
}
