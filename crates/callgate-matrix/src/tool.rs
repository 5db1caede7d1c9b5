//! Tools that some cells need and not every machine has. Cells without their tool are reported as not run.

/// A tool that `make tools` cannot install everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Node.js, with its packages.
    NodeJs,
    /// `nsc` and the `nats` command line, compiled by Go.
    GoTools,
}

impl Tool {
    /// Whether this build uses it: the Makefile enables the feature where the tool is installed.
    pub const fn is_installed(self) -> bool {
        match self {
            Self::NodeJs => cfg!(feature = "node"),
            Self::GoTools => cfg!(feature = "go-tools"),
        }
    }

    /// Why a cell that needs it is not run.
    pub const fn missing(self) -> &'static str {
        match self {
            Self::NodeJs => "Node.js is not installed",
            Self::GoTools => "nsc and nats are not compiled: run scripts/tools.py go-tools",
        }
    }
}
