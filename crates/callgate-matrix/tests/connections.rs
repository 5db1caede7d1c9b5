//! A chosen diagonal of the matrix: every environment and every server line at least once.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "test code, and its output is a report"
)]

use callgate_matrix::{mode::Mode, plan, report::Outcome, run};

async fn holds(mode: Mode) {
    let (mode, version) =
        plan::diagonal().into_iter().find(|(planned, _)| *planned == mode).unwrap();
    let cells = run::connections(mode, version).await;
    let mut faults = Vec::new();
    for cell in &cells {
        println!("{cell}");
        if let Outcome::Failed { .. } = cell.outcome {
            faults.push(cell.to_string());
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

macro_rules! environments {
    ($($name:ident: $mode:ident,)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            holds(Mode::$mode).await;
        }
    )* };
}

environments! {
    every_connection_in_configuration_mode: Configuration,
    every_connection_in_configuration_mode_with_an_xkey: ConfigurationXkey,
    every_connection_in_configuration_mode_with_several_accounts: ConfigurationAccounts,
    every_connection_in_operator_mode: Operator,
    every_connection_in_operator_mode_with_an_xkey: OperatorXkey,
    every_connection_in_operator_mode_with_signing_keys: OperatorSigningKeys,
    every_connection_in_operator_mode_with_scoped_keys: OperatorScopedKeys,
}

#[cfg(feature = "go-tools")]
environments! {
    every_connection_in_a_set_made_by_nsc: OperatorNsc,
}
