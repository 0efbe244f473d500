/// What was used, of one day, instance or user.
public struct Usage: Codable, Sendable, Equatable {
    /// `yyyy-mm-dd`, where the report is by day.
    public var day: String?
    /// By name.
    public var user: String
    /// Where the report is by instance.
    public var instanceID: String?
    /// By name.
    public var instance: String?
    /// By name.
    public var flavor: String?
    /// Of all instances together.
    public var serverHours: Double
    /// Hours times virtual CPUs.
    public var vcpuHours: Double
    /// Hours times memory.
    public var ramMiBHours: Double
    /// What guests computed.
    public var cpuSeconds: Double
    /// What guests read.
    public var diskReadBytes: Double
    /// What guests wrote.
    public var diskWriteBytes: Double
    /// What guests received.
    public var networkReceiveBytes: Double
    /// What guests sent.
    public var networkTransmitBytes: Double
    /// Hours times devices, by alias.
    public var deviceHours: [String: Double]

    enum CodingKeys: String, CodingKey {
        case day, user, instanceID = "instance_id", instance, flavor, serverHours = "server_hours",
            vcpuHours = "vcpu_hours", ramMiBHours = "ram_mib_hours", cpuSeconds = "cpu_seconds",
            diskReadBytes = "disk_read_bytes", diskWriteBytes = "disk_write_bytes",
            networkReceiveBytes = "network_receive_bytes", networkTransmitBytes = "network_transmit_bytes",
            deviceHours = "device_hours"
    }
}

extension RoostClient {
    /// Rows of the usage report.
    ///
    /// - Parameter query: `user`, `from`, `to`, `group_by` and others of `GET /v1/usage`.
    public func usage(_ query: ListQuery = [:]) -> Listing<Usage> {
        Listing(self, "/v1/usage", query) { try Coding.page($0) }
    }
}
