import ManagerMail
import ManagerModel
import ProtocolModel

/// What people are written.
struct AccountMail: Sendable {
    /// Where people reach the site: `https://host:port`.
    let address: String

    func registration(_ secret: LinkSecret, to: MailAddress, until: Timestamp, hours: Int) -> MailMessage {
        MailMessage(
            to: to, subject: "Your registration at \(host)",
            text: """
                Somebody, probably you, wants to register at \(address) with this e-mail address.

                To go on, open this link within \(hours) hours; it works once:

                \(address)/account/register?token=\(secret.text)

                If it was not you, do nothing: no user is made.
                """, expiresAt: until)
    }

    /// For an address that a user has already: only whoever reads its mail may learn that.
    func registeredAlready(_ user: User, to: MailAddress, until: Timestamp) -> MailMessage {
        MailMessage(
            to: to, subject: "Your registration at \(host)",
            text: """
                Somebody, probably you, wants to register at \(address) with this e-mail address. You are registered already: your
                user name is \(user.name).

                If you have forgotten your password, ask for a new one: \(address)/account/reset

                If it was not you, do nothing.
                """, expiresAt: until)
    }

    func reset(_ secret: LinkSecret, _ user: User, to: MailAddress, until: Timestamp, hours: Int) -> MailMessage {
        MailMessage(
            to: to, subject: "A new password for \(host)",
            text: """
                Somebody, probably you, has asked for a new password for the user \(user.name) at \(address).

                To choose one, open this link within \(hours) hours; it works once:

                \(address)/account/reset?token=\(secret.text)

                If it was not you, do nothing: your password stays as it is.
                """, expiresAt: until)
    }

    /// For a user whose password is not ours.
    func passwordElsewhere(_ user: User, to: MailAddress, until: Timestamp) -> MailMessage {
        MailMessage(
            to: to, subject: "A new password for \(host)",
            text: """
                Somebody, probably you, has asked for a new password for the user \(user.name) at \(address).

                You sign in there with the password of your directory. It can only be changed where you change that one.
                """, expiresAt: until)
    }

    private var host: String {
        String(address.drop { $0 != "/" }.drop { $0 == "/" })
    }
}
