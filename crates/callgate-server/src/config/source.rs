//! What the key `source` is worth, which depends on nats-server's configuration.

use callgate::policy::settings::PolicySettings;
use callgate_config::Report;

use super::Admission;

/// Notes about roles with `source`; a warning if the configuration also names proxies.
pub(super) fn notes(
    settings: &PolicySettings,
    admission: &Admission,
    report: &Report,
) -> Vec<String> {
    let mut roles = settings.roles.iter();
    let Some((role, _)) = roles.find(|(_, role)| role.source.is_some()) else { return Vec::new() };
    let path = format!("roles.{role}.source");
    if !admission.trusted_proxies.is_empty() {
        report.warn(
            path,
            "`trusted_proxies` says that clients connect through a proxy: `source` is then compared with the \
             proxy's address, or, with `proxy_protocol` in nats-server.conf, with the one in the PROXY header, \
             which every client that can reach the port chooses. Let only your proxies reach that port",
        );
        return Vec::new();
    }
    vec![format!(
        "{path}: with `proxy_protocol` in nats-server.conf, `source` is only as trustworthy as the clients that \
         can reach the port, because each of them chooses the address in the PROXY header"
    )]
}
