import ChunkPlane
import ManagerAPI
import ManagerFleet
import ManagerFleetNetwork
import ManagerModel
import ManagerStore
import ProtocolModel

/// What `/metrics` shows beside requests: the fleet, instances, refused sessions, bytes of images.
enum ManagerMetrics {
    static func add(to page: MetricsPage, store: Store, fleet: Fleet, listener: ListenerCounters, chunks: ChunkServer) {
        page.add {
            let counts = try? await store.read { sql in
                (try sql.instances.countsByStatus(), try sql.nodes.list().map(\.liveness))
            }
            guard let (instances, nodes) = counts else { return [] }
            return [
                MetricFamily(
                    "roost_manager_instances", .gauge, help: "Instances by status.",
                    samples: InstanceStatus.allCases.filter { $0 != .deleted }.map {
                        .init(Double(instances[$0] ?? 0), labels: [("status", $0.rawValue)])
                    }),
                MetricFamily(
                    "roost_manager_nodes", .gauge, help: "Nodes by liveness.",
                    samples: Node.Liveness.allCases.map { liveness in
                        .init(Double(nodes.count { $0 == liveness }), labels: [("liveness", liveness.rawValue)])
                    }),
            ]
        }
        page.add {
            [
                .gauge(
                    "roost_store_waiting_writes", help: "Writes that wait for their commit.",
                    Double(store.waitingWrites))
            ]
        }
        page.add {
            let values = listener.values
            return [
                .gauge("roost_fleet_sessions", help: "Open agent sessions.", Double(fleet.openSessions)),
                MetricFamily(
                    "roost_fleet_refusals_total", .counter, help: "Agent connections refused or ended, by reason.",
                    samples: values.refusals.sorted { $0.key.rawValue < $1.key.rawValue }.map {
                        .init(Double($0.value), labels: [("code", $0.key.rawValue)])
                    }),
            ]
        }
        page.add {
            let snapshot = chunks.counters.snapshot()
            return [
                MetricFamily(
                    "roost_chunks_served_bytes_total", .counter, help: "Bytes of images served to nodes.",
                    samples: [.init(Double(snapshot.servedBytes))]),
                .gauge(
                    "roost_chunks_connections", help: "Open connections of the image plane.",
                    Double(snapshot.connections)),
            ]
        }
    }
}
