//! A server's configuration with placeholders for ports and folders.

use std::collections::BTreeMap;
use std::path::Path;

use crate::ports::free_port;

/// A listener that a configuration can name by a placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Port {
    Client,
    WebSocket,
    Mqtt,
    Leaf,
    Cluster,
    Monitor,
}

impl Port {
    const ALL: [Port; 6] =
        [Port::Client, Port::WebSocket, Port::Mqtt, Port::Leaf, Port::Cluster, Port::Monitor];

    fn placeholder(self) -> &'static str {
        match self {
            Port::Client => "{{port}}",
            Port::WebSocket => "{{websocket_port}}",
            Port::Mqtt => "{{mqtt_port}}",
            Port::Leaf => "{{leaf_port}}",
            Port::Cluster => "{{cluster_port}}",
            Port::Monitor => "{{monitor_port}}",
        }
    }
}

/// A configuration and the ports that its placeholders stand for.
#[derive(Debug)]
pub(super) struct Config {
    text: String,
    ports: BTreeMap<Port, u16>,
}

impl Config {
    pub(super) fn new(text: &str) -> Self {
        let text = with_listen(text);
        let ports = named_in(&text).map(|port| (port, free_port())).collect();
        Config { text, ports }
    }

    pub(super) fn port(&self, port: Port) -> u16 {
        let placeholder = port.placeholder();
        *self.ports.get(&port).unwrap_or_else(|| panic!("the configuration has no {placeholder}"))
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn mentions(&self, word: &str) -> bool {
        self.text.contains(word)
    }

    pub(super) fn take_other_ports(&mut self) {
        self.ports.values_mut().for_each(|port| *port = free_port());
    }

    pub(super) fn replace(&mut self, text: &str) {
        self.text = with_listen(text);
        for port in named_in(&self.text) {
            // A reload cannot open a listener that the server was not started with.
            let _panics_if_absent = self.port(port);
        }
    }

    pub(super) fn render(&self, folder: &Path) -> String {
        let folder = folder.to_str().expect("temporary directories have UTF-8 names");
        let text = self.text.replace("{{dir}}", folder);
        self.ports.iter().fold(text, |text, (port, number)| {
            text.replace(port.placeholder(), &number.to_string())
        })
    }
}

fn with_listen(text: &str) -> String {
    if text.contains(Port::Client.placeholder()) {
        return text.to_owned();
    }
    format!("listen: \"127.0.0.1:{}\"\n{text}", Port::Client.placeholder())
}

fn named_in(text: &str) -> impl Iterator<Item = Port> {
    Port::ALL.into_iter().filter(move |port| text.contains(port.placeholder()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_ports_and_other_braces_stay() {
        let config =
            Config::new("port: {{port}}\nhttp: {{monitor_port}}\nx: \"{{dir}}/{{name()}}\"");
        let expected = format!(
            "port: {}\nhttp: {}\nx: \"/tmp/x/{{{{name()}}}}\"",
            config.port(Port::Client),
            config.port(Port::Monitor)
        );
        assert_eq!(config.render(Path::new("/tmp/x")), expected);
    }

    #[test]
    fn configuration_without_port_listens_on_loopback() {
        let config = Config::new("debug: true");
        let expected = format!("listen: \"127.0.0.1:{}\"\ndebug: true", config.port(Port::Client));
        assert_eq!(config.render(Path::new("/")), expected);
    }

    #[test]
    #[should_panic(expected = "the configuration has no {{mqtt_port}}")]
    fn unnamed_port_is_not_allocated() {
        Config::new("").port(Port::Mqtt);
    }
}
