//! The environments: how nats-server and Callgate are set up for each other.

use crate::tool::Tool;

/// One column of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// `auth_callout` in the server's configuration.
    Configuration,
    /// The same, with encrypted requests.
    ConfigurationXkey,
    /// The same, with users in multiple accounts.
    ConfigurationAccounts,
    /// Accounts are JWTs; the account keys sign.
    Operator,
    /// The same, with encrypted requests.
    OperatorXkey,
    /// Signing keys of the callout account and of the user accounts sign.
    OperatorSigningKeys,
    /// The same, and a scoped signing key signs some users.
    OperatorScopedKeys,
    /// All of that together, created by `nsc`.
    OperatorNsc,
}

impl Mode {
    /// All modes.
    pub const ALL: [Mode; 8] = [
        Self::Configuration,
        Self::ConfigurationXkey,
        Self::ConfigurationAccounts,
        Self::Operator,
        Self::OperatorXkey,
        Self::OperatorSigningKeys,
        Self::OperatorScopedKeys,
        Self::OperatorNsc,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::ConfigurationXkey => "configuration, xkey",
            Self::ConfigurationAccounts => "configuration, multiple accounts",
            Self::Operator => "operator",
            Self::OperatorXkey => "operator, xkey",
            Self::OperatorSigningKeys => "operator, signing keys",
            Self::OperatorScopedKeys => "operator, scoped keys",
            Self::OperatorNsc => "operator, created by nsc",
        }
    }

    /// Whether accounts are JWTs of an operator.
    pub const fn is_operator(self) -> bool {
        match self {
            Self::Configuration | Self::ConfigurationXkey | Self::ConfigurationAccounts => false,
            Self::Operator
            | Self::OperatorXkey
            | Self::OperatorSigningKeys
            | Self::OperatorScopedKeys
            | Self::OperatorNsc => true,
        }
    }

    /// Whether requests are encrypted.
    pub const fn has_xkey(self) -> bool {
        matches!(
            self,
            Self::ConfigurationXkey
                | Self::OperatorXkey
                | Self::OperatorScopedKeys
                | Self::OperatorNsc
        )
    }

    /// Whether users are also placed in a second account.
    pub const fn has_several_accounts(self) -> bool {
        matches!(self, Self::ConfigurationAccounts | Self::OperatorSigningKeys | Self::OperatorNsc)
    }

    /// Whether signing keys sign instead of the account keys.
    pub const fn has_signing_keys(self) -> bool {
        matches!(self, Self::OperatorSigningKeys | Self::OperatorScopedKeys | Self::OperatorNsc)
    }

    /// Whether a scoped signing key signs some users.
    pub const fn has_scopes(self) -> bool {
        matches!(self, Self::OperatorScopedKeys | Self::OperatorNsc)
    }

    /// What the machine needs for it besides the servers.
    pub const fn needs(self) -> Option<Tool> {
        match self {
            Self::Configuration
            | Self::ConfigurationXkey
            | Self::ConfigurationAccounts
            | Self::Operator
            | Self::OperatorXkey
            | Self::OperatorSigningKeys
            | Self::OperatorScopedKeys => None,
            Self::OperatorNsc => Some(Tool::GoTools),
        }
    }
}
