//! The environments: how nats-server and Callgate know each other.

use crate::tool::Tool;

/// One column of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// `auth_callout` in the server's configuration.
    Configuration,
    /// The same, encrypted.
    ConfigurationXkey,
    /// The same, with users in several accounts.
    ConfigurationAccounts,
    /// Accounts are JWTs; their own keys sign.
    Operator,
    /// The same, encrypted.
    OperatorXkey,
    /// Signing keys sign, of the callout account and of the others.
    OperatorSigningKeys,
    /// The same, and some users are signed by a scoped signing key.
    OperatorScopedKeys,
    /// All of that at once, in a set that `nsc` made.
    OperatorNsc,
}

impl Mode {
    /// All of them.
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

    /// How reports call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::ConfigurationXkey => "configuration, xkey",
            Self::ConfigurationAccounts => "configuration, several accounts",
            Self::Operator => "operator",
            Self::OperatorXkey => "operator, xkey",
            Self::OperatorSigningKeys => "operator, signing keys",
            Self::OperatorScopedKeys => "operator, scoped keys",
            Self::OperatorNsc => "operator, a set made by nsc",
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

    /// Whether users are placed in a second account, too.
    pub const fn has_several_accounts(self) -> bool {
        matches!(self, Self::ConfigurationAccounts | Self::OperatorSigningKeys | Self::OperatorNsc)
    }

    /// Whether signing keys sign, and not the accounts' own.
    pub const fn has_signing_keys(self) -> bool {
        matches!(self, Self::OperatorSigningKeys | Self::OperatorScopedKeys | Self::OperatorNsc)
    }

    /// Whether some users are signed by a scoped signing key.
    pub const fn has_scopes(self) -> bool {
        matches!(self, Self::OperatorScopedKeys | Self::OperatorNsc)
    }

    /// What must be on the machine for it, beside the servers.
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
