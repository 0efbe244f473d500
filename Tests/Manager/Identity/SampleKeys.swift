/// Public keys made by `ssh-keygen` for these tests, each with the fingerprint that it printed.
enum SampleKeys {
    static let accepted: [(line: String, fingerprint: String)] = [
        (
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILkgzcgr0G4dd7zVuqCa4rr8PpFpupLB8x9mGEy2IQ55 key@test",
            "SHA256:velOmTKZl+5wXvrV1LoiOpywlUkysWhKdrU+tSg96UM"
        ),
        (
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCtXhkYGsd4edM4UO1fBa461CzzN/tNbcc3r7tbZseocWvxCZVYxj"
                + "jotl6bmjmTP2r6qcLLnhWiY5VZUWhdrN3Ptj7/B/zNUIp5tByi9vaMoM7MQzF2rQHRV9oMF9WrUPIGH5/Vg3g5FE2I"
                + "LUj1iM3nO5+gP/lCRQhUN/MM4/HAl1U9BJnR80wBxfL7eLnYK1LUPxYGcWcmp1eQbFz8fGPiYCvKGRuYlBBR/iDqGT"
                + "U7kLt2g4a2F5kZy3+WMASSN8OO8TvGchMYLQ3PWYjB8bDveRXbT/9t7Ryhht15CwMi4nhsnMFvvSDmF5xfX/cpr+35"
                + "0Hhe1AfYQ+fRudGCwdtf key@test",
            "SHA256:B79JKSINsdqtsor9YiR1g3r63BHtg+l0y2Z5US+vp8Y"
        ),
        (
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA/h64q0dlD1xTKCUa"
                + "+yzWLGPyHhHMBbBTAfWoo6D1LFNzj0MGg/Q9YijlvE40LXoEU7ZoTPUoZmXEGIVPBdlRA= key@test",
            "SHA256:FHTUW31ulKc+bI2yYZWDva2A1QNvx24m+jWKvcCRDd8"
        ),
        (
            "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBDFBnD19a19kituMYT"
                + "C9iwFqMC/tY2sU+ImNozB1SluJ1+BWI4Sk9Vjh6pNinCjuDqL9WrYSYRkjAnbg9HD01lKAsEDLKwlCHyJh5/qsEEpJ"
                + "ZSGdJga8RWUtxOqw4VBQUg== key@test",
            "SHA256:ok8ffGB+OZdOjk++4JlYuEQyCOgAJLH6gMy813hj43Q"
        ),
        (
            "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBABUzDfD2LBDs4hgDi"
                + "5FeOy/SjWqRtYRbvgbUaP4bSV+M6cGMdGx83m1ttlkXhzROlEtxtIgjsm6HycFlPh0lzDukgFifrZ5Th92HUuiHGuw"
                + "mBNoARHL9kHmT6KLzgDV+PNLTt9fsIYHnzBAPncVYn7ey+AsBzqdNi+Xv/wYTYS0WtVu8Q== key@test",
            "SHA256:d7Ors653FmvM77kFDl5rXXo1jbammYDwYtPYA5S1oN8"
        ),
        (
            "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAILkgzcgr0G4dd7zVuqC"
                + "a4rr8PpFpupLB8x9mGEy2IQ55AAAABHNzaDo= key@test",
            "SHA256:y/QakKXmWZ5SSyR6nxiEuCaPbZ1kW61DnW5zgSfxnPY"
        ),
        (
            "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAA"
                + "IbmlzdHAyNTYAAABBBA/h64q0dlD1xTKCUa+yzWLGPyHhHMBbBTAfWoo6D1LFNzj0MGg/Q9YijlvE40LXoEU7ZoTPU"
                + "oZmXEGIVPBdlRAAAAAEc3NoOg== key@test",
            "SHA256:fIvo3/PXaIFmX1SfrCqFMjV0CefeAaSEojUPG9iSXMM"
        ),
    ]

    static let ed25519 = accepted[0].line

    /// RSA with 1024 bits.
    static let shortRSA =
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQCjKL+PO1YHb6rEeZpsEWRL6CXsk/jmFBSJufN3hJO8ukDdgw3+uJ"
        + "EeUtWbHKZl0PdFb6rK56RLDSuiV1EuC9L7cu9uFkS/n9urW709XwBsdBF1kSK4wEBmEGuW3sQThAMPkORKmH52hhJA"
        + "632kutwVymLbt1RbhQsdvX2W5efZJQ== key@test"
}
