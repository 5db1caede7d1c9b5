//! `callgate schema`

use callgate_authenticators::{kind::Registry, question, users};

use super::{GOOD, output::say};
use crate::{audit, config};

/// Print the JSON Schema of a file, for editors and scripts
///
/// Without a name, this help lists what it can print.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Example:
  callgate schema config > callgate.schema.json"
)]
pub(super) struct Args {
    /// The file to describe
    #[arg(value_enum)]
    file: File,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum File {
    /// The configuration
    Config,
    /// The users file
    Users,
    /// The question that `http` and `nats` send to a service
    Question,
    /// The answer of that service
    Answer,
    /// A record of the audit
    Audit,
}

pub(super) fn run(args: Args, registry: &Registry) -> u8 {
    let schema = match args.file {
        File::Config => config::schema(registry),
        File::Users => users::FILE.document_schema("Users file of Callgate"),
        File::Question => question::question_schema(),
        File::Answer => question::answer_schema(),
        File::Audit => audit::schema(),
    };
    say(format_args!("{schema:#}"));
    GOOD
}
