//! Describes errors of the Kubernetes client without the text of the client, which may quote the
//! kubeconfig: the arguments, variables and output of a credential plugin, for example.

use std::{error::Error, iter};

use kube::{
    client::AuthError,
    config::{KubeconfigError, LoadDataError},
};

use crate::network::{connection_cause, of_io};

/// One line that names the cause.
pub(super) fn describe(error: &(dyn Error + 'static)) -> String {
    let chain: Vec<_> = iter::successors(Some(error), |&error| error.source()).collect();
    let of_settings = chain.iter().find_map(|error| {
        let of_login = error.downcast_ref().map(of_login);
        of_login.or_else(|| error.downcast_ref().map(of_kubeconfig))
    });
    of_settings.or_else(|| connection_cause(error)).unwrap_or_else(|| {
        match chain.iter().find_map(|error| error.downcast_ref()) {
            Some(kube::Error::SerdeError(_) | kube::Error::FromUtf8(_)) => {
                "the answer is not the expected JSON".to_owned()
            }
            Some(_) | None => "the connection failed".to_owned(),
        }
    })
}

/// The same for reading a kubeconfig.
pub(super) fn of_kubeconfig(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::FindPath => "it was not found".to_owned(),
        KubeconfigError::ReadConfig(error, path) => {
            format!("cannot read `{}`: {}", path.display(), of_io(error))
        }
        KubeconfigError::Parse(error) => match error.location() {
            Some(at) => format!("it is not a kubeconfig: error in line {}", at.line()),
            None => "it is not a kubeconfig".to_owned(),
        },
        KubeconfigError::LoadContext(_) | KubeconfigError::LoadClusterOfContext(_) => {
            "its context or the cluster of its context is missing".to_owned()
        }
        KubeconfigError::MissingClusterUrl | KubeconfigError::ParseClusterUrl(_) => {
            "the `server` of its cluster is missing or is not a URL".to_owned()
        }
        KubeconfigError::LoadCertificateAuthority(error) => of_data("certificate authority", error),
        KubeconfigError::LoadClientCertificate(error) => of_data("client certificate", error),
        KubeconfigError::LoadClientKey(error) => of_data("client key", error),
        KubeconfigError::ParseCertificates(_) => {
            "its certificate authority is not a PEM certificate".to_owned()
        }
        _ => "its documents contradict each other, or a setting is not supported".to_owned(),
    }
}

fn of_login(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { cmd, out } => format!(
            "the credential plugin {} of the kubeconfig failed ({}): run it as Callgate's user to \
             see why",
            program(cmd),
            out.status
        ),
        AuthError::AuthExecStart(error) => format!(
            "the credential plugin of the kubeconfig (`exec.command`) cannot be started: {}",
            of_io(error)
        ),
        AuthError::MissingCommand => "the kubeconfig's `exec` has no `command`".to_owned(),
        AuthError::ReadTokenFile(error, path) => {
            format!("cannot read the token file `{}`: {}", path.display(), of_io(error))
        }
        AuthError::InvalidBearerToken(_) | AuthError::InvalidBasicAuth(_) => {
            "the token or password of the kubeconfig contains a line break or another character \
             that a header cannot have"
                .to_owned()
        }
        _ => "the credential plugin of the kubeconfig returned no usable credential: run it as \
              Callgate's user to see what it prints"
            .to_owned(),
    }
}

/// The program in the `Debug` text of a command: the first quoted word after variables
/// (`NAME="value"`), without its directory.
fn program(command: &str) -> String {
    let mut rest = command.trim_start();
    loop {
        let Some(quote) = rest.find('"') else { return String::new() };
        let (before, quoted) = rest.split_at(quote);
        let end = end_of_quoted(quoted);
        let (word, after) = quoted.split_at(end);
        if before.trim().is_empty() {
            let word = word.trim_matches('"');
            let name = word.rsplit('/').next().unwrap_or(word);
            return format!("`{name}`");
        }
        rest = after;
    }
}

/// The length of the quoted text at the beginning, with both quotes.
fn end_of_quoted(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, character)| {
        let ends = *character == '"' && !escaped;
        escaped = *character == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(index, quote)| index + quote.len_utf8())
}

fn of_data(what: &str, error: &LoadDataError) -> String {
    match error {
        LoadDataError::ReadFile(error, path) => {
            format!("cannot read its {what} `{}`: {}", path.display(), of_io(error))
        }
        LoadDataError::DecodeBase64(_) => format!("the data of its {what} is not base64"),
        LoadDataError::NoBase64DataOrFile => format!("its {what} is missing"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn program_of_a_command_has_no_arguments_and_variables() {
        use std::process::Command;
        let mut command = Command::new("/opt/tools/aws");
        command.arg("--secret=canary").env("TOKEN", "canary \" quoted").env_remove("OTHER");
        assert_eq!(program(&format!("{command:?}")), "`aws`");
        assert_eq!(program(&format!("{:?}", Command::new("aws"))), "`aws`");
        assert_eq!(program("nonsense"), "");
    }

    #[test]
    fn text_of_the_client_is_never_used() {
        let canary = || "canary".to_owned();
        for error in [
            kube::Error::Auth(AuthError::AuthExec(canary())),
            kube::Error::InferKubeconfig(KubeconfigError::LoadContext(canary())),
            kube::Error::Service(canary().into()),
            kube::Error::ReadEvents(io::Error::other("canary")),
        ] {
            let text = describe(&error);
            assert!(!text.is_empty() && !text.contains("canary"), "{text}");
        }
    }
}
