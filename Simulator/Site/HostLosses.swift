import ManagerLifecycle
import ManagerModel
import ManagerStore
import ProtocolModel
import SimulatorWorld

/// Hosts that lose their power for long, and operators who look and confirm it; instances whose owners want them started
/// elsewhere then.
///
/// Its choices come from a source of their own, so that a run in which none of this happens goes as it did before there was any.
final class HostLosses {
    private let site: Site
    private let random: Randomness
    private let pace: ClosedRange<SimulatedTime>
    private var isOver = false

    init(site: Site) {
        self.site = site
        random = Randomness(seed: site.world.seed ^ 0x6C6F_7373_6573)
        pace = .seconds(20)...(.seconds([60.0, 120.0][random.below(2)]))
    }

    func start() {
        guard random.chance(0.15) else { return }
        lose()
        choosePolicies()
        confirm()
    }

    func stop() { isOver = true }

    private func lose() {
        site.world.after(random.time(pace)) { [self] in
            guard !isOver, let machine = random.pick(site.machines) else { return }
            site.reboot(machine, after: random.time(.seconds(20)...(.seconds(150))))
            lose()
        }
    }

    /// Half of all instances are to be started elsewhere; some change their owners' minds.
    private func choosePolicies() {
        site.world.after(random.time(.seconds(2)...(.seconds(10)))) { [self] in
            guard !isOver else { return }
            let changesMind = random.chance(0.1)
            write { [site] commands, sql in
                // Of one that is stopped a new generation would look like a wish that its host has not kept.
                for instance in try sql.instances.list(InstanceRepository.Filter()) where instance.desired == .running {
                    let isChosen = instance.id.mark & 1 == 0
                    guard isChosen, instance.onHostLoss == .keep || changesMind else { continue }
                    let policy = instance.onHostLoss == .keep ? HostLossPolicy.restart : .keep
                    _ = try commands.updateInstance(
                        "\(instance.id)", name: nil, metadata: nil, onHostLoss: policy)
                    site.world.trace.note(site.world, "policy", instance.id.mark, 0, "\(instance.id.short) \(policy)")
                }
            }
            choosePolicies()
        }
    }

    /// Whoever confirms stands before the machine, and sees that it is off.
    private func confirm() {
        site.world.after(random.time(.seconds(1)...(.seconds(20)))) { [self] in
            guard !isOver else { return }
            for machine in site.machines where !machine.isUp {
                write { [site] commands, _ in
                    guard !machine.isUp else { return }
                    let answer = try commands.confirmDown([machine.name], reason: "no light")
                    site.world.trace.note(
                        site.world, "confirmed down", UInt64(machine.index), answer[0].ok ? 1 : 0,
                        "\(machine.name): \(answer[0].detail)")
                }
            }
            confirm()
        }
    }

    private func write(_ body: @escaping (Commands, Transaction) throws -> Void) {
        guard let manager = random.pick(site.managers.compactMap(\.process)) else { return }
        manager.whenAwake { [site] in
            manager.write({ sql in
                try body(site.commands(site.administrator, sql, at: manager.now.timestamp), sql)
            }) { _ in }
        }
    }
}
