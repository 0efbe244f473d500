extension Store {
    /// Whether other managers may work on the same record.
    public var isShared: Bool { location.engine == .mariadb }
}
