//! `callgate man`

use super::{GOOD, Outcome, output::print_own};

/// Print a manual page
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate man | man -l -
  callgate man explain > callgate-explain.1")]
pub(super) struct Args {
    /// The command that the page describes; callgate itself if absent
    command: Option<String>,
}

pub(super) fn run(args: &Args, mut root: clap::Command) -> Outcome {
    root.build();
    let described = match &args.command {
        None => root,
        Some(name) => {
            let found = root.find_subcommand(name).cloned();
            let found = found.ok_or_else(|| {
                format!("there is no command `{}`: `callgate help` lists them", name.escape_debug())
            })?;
            // Each page has a name of its own.
            let title = format!("callgate-{}", found.get_name());
            found.name(title)
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(described).render(&mut page)?;
    print_own(&page);
    Ok(GOOD)
}
