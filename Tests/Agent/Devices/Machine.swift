import Foundation

@testable import AgentDevices

/// A machine as one of our text files describes it (see `Machines/README`), and the sysfs and procfs that its kernel would
/// show.
struct Machine {
    struct Problem: Error, CustomStringConvertible {
        let description: String
    }

    enum Expectation: Equatable {
        case yes(companions: [String])
        /// What the sentences together begin with.
        case no(String)
    }

    private(set) var policy = DevicePolicy()
    private(set) var expectations: [(address: String, expectation: Expectation)] = []
    private var tree: SysfsTree
    private var interfaces: Set<String> = []
    private var mounts = ""
    private var swaps = "Filename\tType\tSize\tUsed\tPriority\n"

    static let names = [
        "single-gpu", "dual-gpu", "shared-group", "grid-k2", "sriov-nic", "mediated", "boot-display",
        "boot-display-forced", "no-iommu", "virtual-host", "nvswitch", "disks",
    ]

    init(_ name: String, at root: String) throws {
        guard let path = Bundle.module.path(forResource: name, ofType: "machine", inDirectory: "Machines") else {
            throw Problem(description: "no machine \(name)")
        }
        tree = SysfsTree(root: root)
        try tree.folder("sys/bus/pci/devices")
        try tree.folder("sys/kernel/iommu_groups")
        for line in try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n") where !line.hasPrefix("#")
        {
            try read(line)
        }
        try tree.file("proc/self/mountinfo", "21 1 0:20 / /proc rw - proc proc rw\n" + mounts)
        try tree.file("proc/swaps", swaps)
    }

    var scanner: HostScanner {
        HostScanner(sysfsRoot: tree.root + "/sys", procRoot: tree.root + "/proc") { [interfaces] in interfaces }
    }

    private mutating func read(_ line: Substring) throws {
        let words = line.split(separator: " ").map(String.init)
        let rest = words.dropFirst().joined(separator: " ")
        switch words[0] {
        case "processor":
            try tree.file(
                "proc/cpuinfo",
                "processor\t: 0\nvendor_id\t: \(words[1])\nflags\t\t: fpu vme\(words.count > 2 ? " hypervisor" : "")\n")
        case "parameters": try tree.file("proc/cmdline", rest + "\n")
        case "classes": policy.classes = words.dropFirst().compactMap(DeviceClass.init)
        case "exclude": policy.excluded = Set(words.dropFirst())
        case "force-boot-display": policy.forcesBootDisplay = true
        case "device": try tree.device(words[1], words[2], words[3], Self.options(words.dropFirst(4)))
        case "disk": try disk(words[1], words[2], on: words[4], Self.options(words.dropFirst(5)))
        case "interface": try interface(words[1], on: words[3], Self.options(words.dropFirst(4)))
        case "expect":
            let expectation: Expectation =
                words[2] == "yes"
                ? .yes(companions: Array(words.dropFirst(4))) : .no(words.dropFirst(3).joined(separator: " "))
            expectations.append((words[1], expectation))
        default: throw Problem(description: "no line begins with \(words[0])")
        }
    }

    private mutating func disk(_ name: String, _ number: String, on device: String, _ options: [String: String]) throws
    {
        if let subsystem = options["subsystem"] {
            try tree.link("sys/class/nvme-subsystem/\(subsystem)/nvme5", to: tree.folders[device]! + "/nvme/nvme5")
            try tree.block(name, number, at: "sys/devices/virtual/nvme-subsystem/\(subsystem)/\(name)")
        } else {
            try tree.block(name, number, at: tree.folders[device]! + "/block/\(name)")
        }
        if let path = options["mounted"] {
            // A file system of several disks has a number of its own, and is known by its source alone.
            let shown = options["source-only"] == nil ? number : "0:47"
            mounts += "30 1 \(shown) / \(path) rw,relatime shared:1 - ext4 /dev/\(name) rw\n"
        }
        if options["swap"] != nil { swaps += "/dev/\(name)\tpartition\t1000\t0\t-2\n" }
        if let holder = options["holder"] { try tree.folder("sys/class/block/\(name)/holders/\(holder)") }
    }

    private mutating func interface(_ name: String, on device: String, _ options: [String: String]) throws {
        let folder = tree.folders[device]! + "/net/\(name)"
        try tree.folder(folder)
        try tree.link("sys/class/net/\(name)", to: folder)
        if let upper = options["upper"] { try tree.folder(folder + "/upper_\(upper)") }
        if options["address"] != nil { interfaces.insert(name) }
    }

    private static func options(_ words: ArraySlice<String>) -> [String: String] {
        var options: [String: String] = [:]
        for word in words {
            let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
            options[parts[0]] = parts.count > 1 ? parts[1] : "1"
        }
        return options
    }
}

/// Files and links as the kernel lays them out.
struct SysfsTree {
    let root: String
    /// Where each device's files are, below the root.
    private(set) var folders: [String: String] = [:]

    init(root: String) { self.root = root }

    func folder(_ path: String) throws {
        try FileManager.default.createDirectory(atPath: "\(root)/\(path)", withIntermediateDirectories: true)
    }

    func file(_ path: String, _ text: String) throws {
        try folder(String(path[..<path.lastIndex(of: "/")!]))
        try Data(text.utf8).write(to: URL(filePath: "\(root)/\(path)"))
    }

    /// A relative link, as sysfs has them.
    func link(_ path: String, to target: String) throws {
        let parent = String(path[..<path.lastIndex(of: "/")!])
        try folder(parent)
        let up = String(repeating: "../", count: parent.split(separator: "/").count)
        try FileManager.default.createSymbolicLink(atPath: "\(root)/\(path)", withDestinationPath: up + target)
    }

    func block(_ name: String, _ number: String, at folder: String) throws {
        try file(folder + "/dev", number + "\n")
        try link("sys/class/block/\(name)", to: folder)
    }

    mutating func device(
        _ address: String, _ id: String, _ classCode: String, _ options: [String: String]
    ) throws {
        let bridges = (options["under"] ?? "").split(separator: ",")
        let rootBus = (bridges.first.map(String.init) ?? address).prefix(7)
        let path = (["sys/devices/pci\(rootBus)"] + bridges.map(String.init) + [address]).joined(separator: "/")
        folders[address] = path
        let parts = id.split(separator: ":")
        let card = (options["sub"] ?? "0000:0000").split(separator: ":")
        var files = [
            "vendor": "0x\(parts[0])", "device": "0x\(parts[1])", "class": "0x\(classCode)",
            "subsystem_vendor": "0x\(card[0])", "subsystem_device": "0x\(card[1])",
            "numa_node": options["numa"] ?? "-1",
        ]
        files["boot_vga"] = options["boot_vga"] ?? (options["vga"] == nil ? nil : "0")
        files["power_state"] = options["power"]
        if let reset = options["reset"] {
            files["reset_method"] = reset.replacing(",", with: " ")
            files["reset"] = ""
        }
        if let functions = options["vfs"] {
            let made = functions.drop { $0 != ":" }.split(separator: ",").map {
                $0.hasPrefix(":") ? $0.dropFirst() : $0
            }
            .filter { !$0.isEmpty }
            files["sriov_totalvfs"] = String(functions.prefix { $0 != ":" })
            files["sriov_numvfs"] = "\(made.count)"
            for (index, function) in made.enumerated() { try link(path + "/virtfn\(index)", to: "sys/x/\(function)") }
        }
        for (name, text) in files { try file("\(path)/\(name)", text + "\n") }
        for type in (options["mdev"] ?? "").split(separator: ",") { try mediated(path, type.split(separator: "/")) }
        if let driver = options["driver"] { try link(path + "/driver", to: "sys/bus/pci/drivers/\(driver)") }
        if let physical = options["physfn"] { try link(path + "/physfn", to: "sys/x/\(physical)") }
        if let group = options["group"] {
            try folder("sys/kernel/iommu_groups/\(group)")
            try link(path + "/iommu_group", to: "sys/kernel/iommu_groups/\(group)")
        }
        try link("sys/bus/pci/devices/\(address)", to: path)
    }

    private func mediated(_ device: String, _ words: [Substring]) throws {
        let path = "\(device)/mdev_supported_types/\(words[0])"
        try file(path + "/name", words[1].replacing("_", with: " ") + "\n")
        try file(path + "/available_instances", words[2] + "\n")
        try folder(path + "/devices")
        for index in 0..<(words.count > 3 ? Int(words[3])! : 0) { try folder(path + "/devices/\(index)") }
    }
}
