import CLibvirt

/// The numbers of libvirt's list of named values, copied.
struct DomainCounters {
    private var values: [String: UInt64] = [:]

    init(_ values: [String: UInt64]) { self.values = values }

    init(_ parameters: virTypedParameterPtr?, count: Int32) {
        guard let parameters else { return }
        for index in 0..<Int(count) {
            let parameter = parameters[index]
            let name = withUnsafeBytes(of: parameter.field) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            switch UInt32(bitPattern: parameter.type) {
            case VIR_TYPED_PARAM_ULLONG.rawValue: values[name] = parameter.value.ul
            case VIR_TYPED_PARAM_LLONG.rawValue: values[name] = UInt64(clamping: parameter.value.l)
            case VIR_TYPED_PARAM_UINT.rawValue: values[name] = UInt64(parameter.value.ui)
            case VIR_TYPED_PARAM_INT.rawValue: values[name] = UInt64(clamping: parameter.value.i)
            default: continue
            }
        }
    }

    subscript(_ name: String) -> UInt64? { values[name] }

    /// Over every member of a group; `nil`: not every one of them told it.
    func sum(_ group: String, _ field: String) -> UInt64? {
        guard let count = values["\(group).count"], count <= 256 else { return nil }
        var total: UInt64 = 0
        for index in 0..<count {
            guard let value = values["\(group).\(index).\(field)"] else { return nil }
            total &+= value
        }
        return total
    }
}
