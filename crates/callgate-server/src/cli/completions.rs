//! `callgate completions`

use clap_complete::Shell;

use super::{GOOD, output::print_own};

/// Print a script that completes commands and flags in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate completions bash > ~/.local/share/bash-completion/completions/callgate
  callgate completions zsh > \"${fpath[1]}/_callgate\"
  callgate completions fish > ~/.config/fish/completions/callgate.fish")]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args, command: &mut clap::Command) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "callgate", &mut script);
    print_own(&script);
    GOOD
}
