//! A JetStream stream in the callout account as sink.

use std::{collections::VecDeque, future::IntoFuture, io, sync::Arc, time::Duration};

use async_nats::{
    Client, HeaderMap,
    connection::State,
    jetstream::{
        self, Context,
        context::PublishAckFuture,
        stream::{Config, StorageType},
    },
};
use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::{
    chain::{Line, Lines},
    lines::RawHead,
    settings::{CreateSettings, StreamSettings},
    sink::Output,
};

/// What the subjects of all records begin with.
pub(crate) const SUBJECTS: &str = "CALLGATE.audit.>";
/// What the callout user must be permitted to publish for the stream `CALLGATE_AUDIT`. The last two are
/// needed only with `create`.
pub(crate) const PERMISSIONS: [&str; 3] =
    [SUBJECTS, "$JS.API.STREAM.INFO.CALLGATE_AUDIT", "$JS.API.STREAM.CREATE.CALLGATE_AUDIT"];
/// How long an answer of JetStream may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Records that wait for their acknowledgement at the same time.
const MAX_UNACKNOWLEDGED: usize = 256;

/// The service's connection, once there is one.
pub(crate) type Connection = watch::Receiver<Option<Client>>;

/// See the top of the file.
pub(super) struct StreamOutput {
    settings: StreamSettings,
    /// `nats.queue`, which names the fleet.
    queue: Arc<str>,
    connection: Connection,
    runtime: Handle,
    /// The stream exists, as far as it is known.
    is_created: bool,
    /// The last record that the stream has acknowledged, in this chain.
    stored: Option<u64>,
}

impl StreamOutput {
    /// Publishes on the current runtime.
    pub(super) fn new(settings: &StreamSettings, queue: &str, connection: Connection) -> Self {
        Self {
            settings: settings.clone(),
            queue: queue.into(),
            connection,
            runtime: Handle::current(),
            is_created: settings.create.is_none(),
            stored: None,
        }
    }

    async fn publish(&mut self, lines: &Lines) -> io::Result<()> {
        let context = self.context().await?;
        if let Some(create) = self.settings.create.as_ref().filter(|_| !self.is_created) {
            create_stream(&context, &self.settings.name, create).await?;
            self.is_created = true;
        }
        let stored = self.stored;
        let is_new = |line: &Line<'_>| stored.is_none_or(|stored| line.seq > stored);
        let mut sent: VecDeque<(u64, PublishAckFuture)> = VecDeque::new();
        for line in lines.iter().filter(is_new) {
            if sent.len() >= MAX_UNACKNOWLEDGED {
                self.acknowledge(&mut sent).await?;
            }
            let (subject, headers) = self.envelope(&line)?;
            let payload = line.bytes.to_vec().into();
            let ack = context.publish_with_headers(subject, headers, payload).await;
            sent.push_back((line.seq, ack.map_err(io::Error::other)?));
        }
        while !sent.is_empty() {
            self.acknowledge(&mut sent).await?;
        }
        Ok(())
    }

    /// Waits for the oldest acknowledgement.
    async fn acknowledge(
        &mut self,
        sent: &mut VecDeque<(u64, PublishAckFuture)>,
    ) -> io::Result<()> {
        let Some((seq, ack)) = sent.pop_front() else { return Ok(()) };
        let acknowledged = timeout(ANSWER_TIMEOUT, ack.into_future()).await;
        let acknowledged = acknowledged.map_err(|_elapsed| no_answer(&self.settings.name))?;
        if let Err(error) = acknowledged {
            // The stream may have been deleted.
            self.is_created = self.settings.create.is_none();
            return Err(io::Error::other(format!("stream `{}`: {error}", self.settings.name)));
        }
        self.stored = Some(seq);
        Ok(())
    }

    async fn context(&mut self) -> io::Result<Context> {
        let connected = timeout(ANSWER_TIMEOUT, self.connection.wait_for(Option::is_some)).await;
        let client = connected.ok().and_then(Result::ok).and_then(|client| client.clone());
        let is_up = |client: &Client| client.connection_state() == State::Connected;
        let client =
            client.filter(is_up).ok_or_else(|| io::Error::other("no connection to NATS"))?;
        let mut context = jetstream::new(client);
        context.set_timeout(ANSWER_TIMEOUT);
        Ok(context)
    }

    /// Subject and headers: one message per record (`Nats-Msg-Id`), and the attributes of CloudEvents.
    fn envelope(&self, line: &Line<'_>) -> io::Result<(String, HeaderMap)> {
        let head = RawHead::of(line.bytes).ok_or_else(|| io::Error::other("not a record"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let kind = text(head.kind);
        let id = format!("{}/{}", text(head.boot), head.seq);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("Nats-Msg-Id", id.as_str()),
            ("Nats-Expected-Stream", &self.settings.name),
            ("ce-specversion", "1.0"),
            ("ce-id", &id),
            ("ce-type", &format!("callgate.{kind}.v1")),
            ("ce-source", &format!("/callgate/{}/{}", self.queue, text(head.replica))),
            ("ce-time", &text(head.time)),
        ] {
            headers.insert(name, value);
        }
        Ok((format!("CALLGATE.audit.{}.{kind}", self.queue), headers))
    }
}

impl Output for StreamOutput {
    fn write(&mut self, lines: &Lines) -> io::Result<()> {
        let runtime = self.runtime.clone();
        runtime.block_on(self.publish(lines))
    }
}

fn no_answer(stream: &str) -> io::Error {
    io::Error::other(format!("stream `{stream}`: JetStream does not answer"))
}

async fn create_stream(context: &Context, name: &str, settings: &CreateSettings) -> io::Result<()> {
    let config = Config {
        name: name.to_owned(),
        subjects: vec![SUBJECTS.to_owned()],
        storage: StorageType::File,
        max_age: settings.max_age,
        num_replicas: settings.replicas,
        ..Config::default()
    };
    let created = timeout(2 * ANSWER_TIMEOUT, context.get_or_create_stream(config)).await;
    let created = created.map_err(|_elapsed| no_answer(name))?;
    created
        .map(drop)
        .map_err(|error| io::Error::other(format!("cannot create the stream `{name}`: {error}")))
}
