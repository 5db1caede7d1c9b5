//! What some cells need and not every machine has: without it they are not run, and that is said.

/// Something that `make tools` cannot put everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Node.js, with its packages.
    NodeJs,
    /// `nsc` and the `nats` command line, compiled by Go.
    GoTools,
}

impl Tool {
    /// Whether this build uses it: the Makefile switches features on where the tools are.
    pub const fn is_installed(self) -> bool {
        match self {
            Self::NodeJs => cfg!(feature = "node"),
            Self::GoTools => cfg!(feature = "go-tools"),
        }
    }

    /// Why a cell that needs it is not run.
    pub const fn missing(self) -> &'static str {
        match self {
            Self::NodeJs => "there is no Node.js on this machine",
            Self::GoTools => "nsc and nats are not compiled: run scripts/tools.py go-tools",
        }
    }
}
