//! The files for a Kubernetes cluster: a Secret, and values for the charts of NATS and Callgate.

use serde_json::{Map, Value, json};

type File = (&'static str, String);

const SECRET_FILE: &str = "secret.yaml";
const NATS_FILE: &str = "nats-values.yaml";
const CALLGATE_FILE: &str = "callgate-values.yaml";

/// The files for configuration mode. `secrets` are those that Callgate reads; `fill` replaces the
/// placeholders of a template.
pub(super) fn configuration_mode(
    secrets: &[File],
    fill: impl Fn(&str) -> String,
) -> [(&'static str, String); 3] {
    let nats = fill(&NATS.replace("{authentication}", NATS_CONFIGURATION_MODE));
    [(SECRET_FILE, secret(secrets)), (NATS_FILE, nats), (CALLGATE_FILE, CALLGATE.to_owned())]
}

/// The same for operator mode.
pub(super) fn operator_mode(
    secrets: &[File],
    fill: impl Fn(&str) -> String,
) -> [(&'static str, String); 3] {
    let nats = fill(&NATS.replace("{authentication}", NATS_OPERATOR_MODE));
    let callgate = fill(&[CALLGATE, CALLGATE_OPERATOR_MODE].concat());
    [(SECRET_FILE, secret(secrets)), (NATS_FILE, nats), (CALLGATE_FILE, callgate)]
}

/// The Secret that the chart mounts.
fn secret(files: &[File]) -> String {
    let data: Map<_, _> =
        files.iter().map(|(name, text)| ((*name).to_owned(), Value::from(text.as_str()))).collect();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "callgate" },
        "stringData": data,
    });
    // Every JSON document is a YAML document.
    format!("{secret:#}\n")
}

pub(super) fn next_steps(folder: &str) -> String {
    NEXT_STEPS.replace("{folder}", folder)
}

const NEXT_STEPS: &str = "\
next:  kubectl create namespace nats
       kubectl create --namespace nats --filename {folder}/secret.yaml
       helm repo add nats https://nats-io.github.io/k8s/helm/charts/
       helm install nats nats/nats --namespace nats --values {folder}/nats-values.yaml
       helm install callgate deploy/helm/callgate --namespace nats --values {folder}/callgate-values.yaml \\
         --set image.repository=REGISTRY/callgate
To try it outside the cluster, with the tokens of your kubeconfig's cluster:
       nats-server -c {folder}/nats-server.conf
       callgate serve --config {folder}/callgate.toml";

/// The permissions of Callgate's user are those in nats-server.conf.
const NATS: &str = r#"# Values for the NATS chart (https://nats-io.github.io/k8s/helm/charts/) that fit the Callgate chart.
#
#   helm install nats nats/nats --namespace nats --values nats-values.yaml
config:
  # What Callgate's replicas share is stored in JetStream: `state` in the values of Callgate.
  jetstream:
    enabled: true
    fileStore:
      pvc:
        size: 1Gi
  merge:
    # A frozen Callgate replica keeps receiving logins until it misses the third of these pings.
    ping_interval: 5s
{authentication}natsBox:
  enabled: false
"#;

const NATS_CONFIGURATION_MODE: &str = r#"    accounts:
      AUTH:
        jetstream: enabled
        users:
          # Callgate itself; its seed is auth.nk in the Secret `callgate`.
          - nkey: {auth}
            permissions:
              publish:
                - _INBOX.>
                - $SYS._INBOX.>
                - $SYS.REQ.USER.INFO
                - $SRV.INFO
                # For `state`: messages between replicas, and their bucket.
                - CALLGATE.>
                - $KV.callgate.>
                - $JS.FC.KV_callgate.>
                - $JS.API.INFO
                - $JS.API.STREAM.INFO.KV_callgate
                - $JS.API.STREAM.CREATE.KV_callgate
                - $JS.API.STREAM.MSG.GET.KV_callgate
                - $JS.API.DIRECT.GET.KV_callgate
                - $JS.API.DIRECT.GET.KV_callgate.>
                - $JS.API.CONSUMER.CREATE.KV_callgate
                - $JS.API.CONSUMER.CREATE.KV_callgate.>
                - $JS.API.CONSUMER.INFO.KV_callgate.>
                - $JS.API.CONSUMER.DELETE.KV_callgate.>
                # For a stream as a sink of `audit`, whose subjects `CALLGATE.>` includes.
                - $JS.API.STREAM.INFO.CALLGATE_AUDIT
                - $JS.API.STREAM.CREATE.CALLGATE_AUDIT
              subscribe: ["$SYS.REQ.USER.AUTH", "$SRV.>", "_INBOX.>", "CALLGATE.>"]
      APP:
        jetstream: enabled
      SYS:
        users:
          # For access while Callgate is down: see passwords.txt, and store the password safely.
          - user: break-glass
            password: {break_glass}
          # Callgate's user for `[system]`; its seed is system.nk in the Secret. It can close every connection.
          - nkey: {system_user}
            permissions:
              publish: {system_publishes}
              subscribe: {system_subscribes}
    system_account: SYS
    authorization:
      # How long a login waits for Callgate, in seconds.
      timeout: 2
      auth_callout:
        issuer: {issuer}
        xkey: {xkey}
        account: AUTH
        auth_users: [{auth}, {system_user}, break-glass]
"#;

const NATS_OPERATOR_MODE: &str = r#"    operator: {operator_jwt}
    system_account: {system}
    # Pods send only their token. Needs nats-server 2.11.11 or 2.12.
    default_sentinel: {sentinel_jwt}
    # Larger deployments push their accounts to a resolver.
    resolver: MEMORY
    resolver_preload:
      {system}: {system_jwt}
      {callout}: {callout_jwt}
      {app}: {app_jwt}
      {ops}: {ops_jwt}
"#;

const CALLGATE: &str = r#"# Values for the Callgate chart (deploy/helm/callgate in its repository).
#
#   helm install callgate deploy/helm/callgate --namespace nats --values callgate-values.yaml
secretName: callgate
image:
  # Where you pushed the image, such as registry.example.com/callgate.
  repository: ""
"#;

/// `null` removes a default of the chart.
const CALLGATE_OPERATOR_MODE: &str = r#"config:
  nats:
    nkey: null
    creds: /etc/callgate/secrets/nats.creds
  issuer:
    callout_account: null
    account: {callout}
  accounts:
    - name: APP
      id: {app}
      seed: { file: /etc/callgate/secrets/APP-signing.nk }
      scoped: { reader: { file: /etc/callgate/secrets/APP-reader.nk } }
    - name: OPS
      id: {ops}
      seed: { file: /etc/callgate/secrets/OPS-signing.nk }
  # Its permissions are in the template of APP's scoped signing key.
  roles:
    reader: { scope: reader }
"#;
