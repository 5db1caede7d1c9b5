//! Clients on Node.js work with the test kit's servers.

use callgate_testkit::wait::PATIENCE;
use callgate_testkit::{NatsServer, Process, tools};

const CLIENT: &str = r#"
    import { connect } from "@nats-io/transport-node";
    import { wsconnect } from "@nats-io/nats-core";
    globalThis.WebSocket ??= (await import("ws")).WebSocket;
    const [tcp, websocket] = process.argv.slice(-2);
    const receiver = await connect({ servers: tcp });
    const inbox = receiver.subscribe("greetings", { max: 1 });
    await receiver.flush();
    const sender = await wsconnect({ servers: websocket });
    sender.publish("greetings", "hello over WebSocket");
    for await (const message of inbox) console.log(message.string());
    await sender.close();
    await receiver.close();
"#;

#[tokio::test]
async fn node_client_connects_over_tcp_and_websocket() {
    let config = "websocket { listen: \"127.0.0.1:{{websocket_port}}\", no_tls: true }";
    let server = NatsServer::start(config).await;
    let mut client = Process::builder("a Node.js client", tools::node())
        .args(["--input-type=module", "--eval", CLIENT, &server.url(), &server.websocket_url()])
        .current_dir(tools::folder().join("node"))
        .start();
    let status = client.wait_for_exit(PATIENCE).await;
    assert_eq!(client.stdout(), "hello over WebSocket\n", "{status}: {}", client.stderr());
}
