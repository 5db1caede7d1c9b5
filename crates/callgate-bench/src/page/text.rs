//! The text of `docs/performance.md`.

use callgate_testkit::pages;

use super::{Curve, LAYOUTS, Layout, PEERS, Point, Results, Stalls, WORKS, large, thousands};
use crate::Failure;

pub(super) fn render(results: &Results) -> Result<String, Failure> {
    let machine = &results.machine;
    let (cpu, cores, server, date) =
        (&machine.cpu, machine.cores, machine.server.replace(": ", " "), &machine.date);
    let storm = results.load("callgate", "xkey", "storm")?;
    let server_ratio = storm.server_cpu / storm.responder_cpu;
    Ok(format!(
        "\
# Performance

<!-- Rendered by callgate-bench from docs/performance.json. Do not edit. -->

How fast Callgate is, compared with other callouts and with the cryptography that every callout needs. All numbers come
from one shared machine ({cpu}, {cores} cores, {server}, {date}) that ran the clients, nats-server and the callout
together: compare them with each other, not with your own.{} To repeat the measurements:

```sh
python3 bench/compare.py --record         # needs Go, Node.js and Python for the other callouts
python3 bench/limits.py --record          # Callgate alone
cargo run -p callgate-bench -- render     # this page
```

To measure your own deployment, see [callgate-bench](#measure-your-own-deployment).

## Compared with other callouts

All callouts do the same work: they accept one user with a clear-text password and one RS256 token. The others are a few
lines of code on top of their libraries (`bench/peers/`). The Python library does not support xkeys, so it is combined
with PyNaCl's box. The JavaScript libraries compute in JavaScript, and derive each key pair from its seed again for every
signature and every use of the public key. Used as documented, they take about 70 ms of CPU time for an answer. The peer
here derives each key once, and signs and verifies with `node:crypto`. The callouts ran interleaved, and the best round
of each counts. CPU is the time of the whole process per answer in microseconds, including sockets, NATS client and
runtime. *ratio* is Callgate's CPU time divided by that of the other callout.

![CPU time per answer](performance.svg)

### Simulated servers (`callgate-bench flood`, 32 concurrent requests), with an xkey

{}
### Simulated servers, without an xkey

{}
### Real clients and a real server (`callgate-bench storm`, 8 concurrent clients)

*server* is the CPU time that nats-server spends per admission.

{}
With an xkey, nats-server spends {server_ratio:.1} times as much CPU on an admission as Callgate: one core of Callgate
keeps {} cores of nats-server busy.

## Compared with the floor

The floor is the cryptography that no callout can avoid: opening the request's box with a known server key, verifying its
Ed25519 signature and the signature of the credential (if it has one), signing twice, and sealing the answer. CPU time in
one process, without sockets:

{}
*open* decrypts, verifies and parses the request, *authenticate* is the authenticator, *resolve* the policy; *answer* mints
the user JWT, signs it and the answer, and seals. Without the bare operations below, parsing takes {:.1} µs and minting
takes {:.1} µs (user by token).

| bare operation | µs |
|---|--:|
{}
## Growth

{}
The duration of one decision in one process, without sockets, and how it grows:

{}
### Rules and issuers

{}
An index finds a binding if its condition, or one operand of its outermost `&&`, is a comparison with a text:
`\"staff\" in groups`, `user == \"…\"`, `claims.x == \"…\"`, `\"…\" in claims.x`, `claims.x.y == \"…\"`, or several of
these joined by `||`. Of several comparisons in one condition, the most selective one counts. Other conditions are
evaluated one by one, about {:.1} µs each.

### Directories

{}

## Cores

{}

## Latency at half of the maximum rate

`callgate-bench flood --rate` sends requests at a fixed rate, whether or not they are answered: slightly above half of the
maximum rate of the same setup (with 64 concurrent requests). The table shows the median of {} rounds.

- *Same cores*: simulated servers, nats-server and Callgate share all cores. One request at a time keeps them much busier
  than 64.
- *Separate*: Callgate has its own core.
- *Separate, real time*: all three run under `SCHED_FIFO`, so that no other process can take their core.

The last layout separates Callgate's part of the 99th percentile from the machine's. A process that only reads the clock on
all cores and sleeps briefly every millisecond stands still for {}; in real time, when only the host of a virtual machine
can interrupt it, for {}.

{}
## Bursts, memory, start-up

{}
## Optimizations and their safeguards

| optimization | safeguard | verified by |
|---|---|---|
| The shared curve key of a server is cached. | It is stored only after the request's signature was verified and the key in the header was the signed one; the cache is bounded. | `open::` tests of the library |
| The verifying key of a server is cached after its first valid signature. | Every request's signature is still verified. | `open::` tests |
| The nkey of a client is cached after its first valid signature. | Every nonce signature is still verified; the cache is bounded and separate from the cache of server keys. | `credential::nkey_counts_only_with_its_signature_of_a_real_nonce` |
| The point R of an Ed25519 signature is compared, not decompressed. | Everything that `verify_strict` refuses is refused: points of small order and non-canonical encodings. | `verifying::` tests, which forge such signatures |
| Strings of a request are borrowed; decrypted memory is wiped by one `memset`. | The whole allocation is wiped. | `secret::wiping_overwrites_the_whole_allocation` |
| The JSON of an answer is written without a serializer. | It is identical to the serializer's output. | `response::response_is_the_json_that_serde_would_write` |
| The key that verified a bearer token is cached by the token's keyed digest. | Claims are parsed and checked on every hit, and the key must still be in the key set; the cache is bounded. | `verified_token_cache::` and `oidc::` tests |
| Requests that arrive together are decided in turn and answered together. | A decision that waits, or may block its thread, gets its own task. | `batch::` tests of the library |
| An index finds bindings. | The result is the same as evaluating all of them. | `properties::bindings_skipped_by_the_index_never_match`, `bindings::index_finds_the_forms_in_which_claims_are_usually_tested` |
| `ed25519-dalek` verifies and `aws-lc-rs` signs Ed25519; `aws-lc-rs` does RSA and ECDSA. | CPU features are detected at run time; no build is tied to one machine. | Wycheproof vectors |

Tried and rejected: other allocators (mimalloc, jemalloc: the same CPU time, more memory) and one worker thread instead of
one per core (the same CPU time).

## Measure your own deployment

`callgate-bench` (`cargo build --release -p callgate-bench`) works with any callout:

```sh
callgate-bench tokens --count 1000 --out-dir load
callgate-bench flood --server 127.0.0.1:4222 --issuer A… --xkey X… --tokens load/tokens --depth 32 --responder-pid 4711
callgate-bench storm --server 127.0.0.1:4222 --clients 5000 --user alice --password-file alice.txt
callgate-bench floor
callgate-bench growth
```

`flood` simulates servers on a plain nats-server (`--rate` for an open loop, `--depth` for a closed loop) and verifies the
signatures and contents of every answer. `storm` connects real clients. `--json` prints machine-readable results.
",
        builds(results),
        floods(results, "xkey")?,
        floods(results, "clear")?,
        storms(results)?,
        server_ratio as usize,
        decisions(results),
        parsing(results)?,
        minting(results)?,
        operations(results),
        optional(results.scale.as_ref(), large::growth)?,
        growth(results)?,
        optional(results.rules.as_ref(), large::rules)?,
        each_condition(results)?,
        optional(results.directories.as_ref(), large::directories)?,
        cores_text(results)?,
        layout(results, "shared")?.rounds.len(),
        stalls(&results.latency.stalls),
        stalls(&results.latency.stalls_undisturbed),
        latencies(results)?,
        limits(results)?,
    ))
}

/// A section that may not be recorded yet.
fn optional<T>(
    section: Option<&T>,
    render: fn(&T) -> Result<String, Failure>,
) -> Result<String, Failure> {
    section.map_or_else(|| Ok("Not recorded yet.\n".to_owned()), render)
}

/// Which build each measurement is of.
fn builds(results: &Results) -> String {
    let builds = results.builds.iter().map(|(name, build)| format!("{name} ({build})"));
    let builds: Vec<_> = builds.collect();
    match builds.is_empty() {
        true => String::new(),
        false => format!(" Measured later, by commit: {}.", builds.join(", ")),
    }
}

fn ratio(results: &Results, peer: &str, encryption: &str, work: &str) -> Result<f64, Failure> {
    let own = results.load("callgate", encryption, work)?;
    Ok(own.responder_cpu / results.load(peer, encryption, work)?.responder_cpu)
}

fn floods(results: &Results, encryption: &str) -> Result<String, Failure> {
    let mut rows = Vec::new();
    for (work, title) in WORKS {
        for (peer, name) in PEERS {
            let load = results.load(peer, encryption, work)?;
            rows.push(vec![
                if peer == "callgate" { title } else { "" }.to_owned(),
                name.to_owned(),
                format!("{:.0}", load.responder_cpu),
                format!("{:.3}", ratio(results, peer, encryption, work)?),
                thousands(load.per_second),
                format!("{:.1}", load.p50 / 1000.0),
                format!("{:.1}", load.p99 / 1000.0),
                format!("{:.0}", load.responder_peak_mib),
            ]);
        }
    }
    let head = ["client", "callout", "CPU µs", "ratio", "answers/s", "p50 ms", "p99 ms", "MiB"];
    Ok(pages::number_table(&head, rows))
}

fn storms(results: &Results) -> Result<String, Failure> {
    let mut rows = Vec::new();
    for (encryption, title) in [("xkey", "with an xkey"), ("clear", "without an xkey")] {
        for (peer, name) in PEERS {
            let load = results.load(peer, encryption, "storm")?;
            rows.push(vec![
                if peer == "callgate" { title } else { "" }.to_owned(),
                name.to_owned(),
                format!("{:.0}", load.responder_cpu),
                format!("{:.3}", ratio(results, peer, encryption, "storm")?),
                format!("{:.0}", load.server_cpu),
                thousands(load.per_second),
                format!("{:.1}", load.p99 / 1000.0),
            ]);
        }
    }
    let head = ["", "callout", "CPU µs", "ratio", "server µs", "admitted/s", "p99 ms"];
    Ok(pages::number_table(&head, rows))
}

fn decisions(results: &Results) -> String {
    let rows = results.floor.decisions.iter().map(|row| {
        let micros = [
            row.open_and_verify,
            row.authenticate,
            row.resolve,
            row.mint_and_seal,
            row.whole,
            row.floor,
        ];
        let mut cells = vec![row.login.clone()];
        cells.extend(micros.map(|micros| format!("{micros:.1}")));
        cells.push(format!("{:.2}", row.ratio));
        cells
    });
    let head =
        ["login", "open", "authenticate", "resolve", "answer", "total µs", "floor µs", "ratio"];
    pages::number_table(&head, rows)
}

fn operation(results: &Results, name: &str) -> Result<f64, Failure> {
    let found = results.floor.operations.get(name).copied();
    found.ok_or_else(|| format!("no measurement of the operation `{name}`").into())
}

fn token(results: &Results) -> Result<&super::Decision, Failure> {
    let found = results.floor.decisions.iter().find(|row| row.login == "user by token");
    found.ok_or_else(|| "no measurement of `user by token`".into())
}

fn parsing(results: &Results) -> Result<f64, Failure> {
    let bare = operation(results, "open")? + operation(results, "verify")?;
    Ok(token(results)?.open_and_verify - bare)
}

fn minting(results: &Results) -> Result<f64, Failure> {
    let bare = 2.0 * operation(results, "sign")? + operation(results, "seal")?;
    Ok(token(results)?.mint_and_seal - bare)
}

fn operations(results: &Results) -> String {
    let operations = results.floor.operations.iter();
    operations.map(|(name, micros)| format!("| {name} | {micros:.1} |\n")).collect()
}

fn curve<'a>(results: &'a Results, what: &str) -> Result<&'a Curve, Failure> {
    let found = results.growth.curves.iter().find(|curve| curve.what == what);
    found.ok_or_else(|| format!("no curve `{what}`").into())
}

fn ends(curve: &Curve) -> Result<(Point, Point), Failure> {
    let ends = curve.points.first().copied().zip(curve.points.last().copied());
    ends.ok_or_else(|| format!("the curve `{}` has no points", curve.what).into())
}

fn growth(results: &Results) -> Result<String, Failure> {
    let mut rows = Vec::new();
    for curve in results.growth.curves.iter().filter(|curve| curve.unit == "µs") {
        let (first, last) = ends(curve)?;
        let points = curve.points.iter();
        let points = points.map(|(size, value)| format!("{}: {value:.0}", thousands(*size)));
        rows.push(vec![
            curve.what.clone(),
            points.collect::<Vec<_>>().join(", "),
            format!("{:.2} ×", last.1 / first.1),
        ]);
    }
    Ok(pages::number_table(&["what grows", "size: µs", "last / first"], rows))
}

fn each_condition(results: &Results) -> Result<f64, Failure> {
    let (first, last) = ends(curve(results, "roles and bindings that must be evaluated")?)?;
    Ok((last.1 - first.1) / (last.0 - first.0))
}

fn cores_text(results: &Results) -> Result<String, Failure> {
    let (one, all) = ends(curve(results, "threads")?)?;
    let (threads, rate) = all;
    Ok(format!(
        "{threads} threads on {threads} cores make {} decisions per second, one thread {} ({} when pinned to one core): \
         {:.2} × with {threads} cores.",
        thousands(rate),
        thousands(one.1),
        thousands(results.growth.one_core),
        rate / one.1,
    ))
}

fn layout<'a>(results: &'a Results, name: &str) -> Result<&'a Layout, Failure> {
    let found = results.latency.layouts.get(name);
    found.ok_or_else(|| format!("no latency measurement `{name}`").into())
}

fn latencies(results: &Results) -> Result<String, Failure> {
    let mut rows = Vec::new();
    for (name, title) in LAYOUTS {
        let layout = layout(results, name)?;
        let rounds = &layout.rounds;
        let (Some(first), Some(last)) = (rounds.first(), rounds.last()) else {
            return Err(format!("{title}: no rounds").into());
        };
        let median = rounds.get(rounds.len() / 2).unwrap_or(last);
        let rates = rounds.iter().map(|round| round.per_second);
        let lowest = rates.clone().fold(f64::INFINITY, f64::min);
        let highest = rates.fold(0.0, f64::max);
        if lowest < layout.most / 2.0 * 0.99 {
            let most = layout.most;
            return Err(format!("{title}: {lowest:.0} answers/s are not half of {most:.0}").into());
        }
        let fast = rounds.iter().filter(|round| round.p99 < 2000.0).count();
        rows.push(vec![
            title.to_owned(),
            thousands(layout.most),
            format!("{} to {}", thousands(lowest), thousands(highest)),
            format!("{:.0}", median.p50),
            format!("{:.0}", median.p90),
            format!("{:.1}", median.p99 / 1000.0),
            format!("{:.1}", median.p999 / 1000.0),
            format!("{:.1} to {:.1}", first.p99 / 1000.0, last.p99 / 1000.0),
            format!("{fast} of {}", rounds.len()),
        ]);
    }
    let head = [
        "",
        "maximum/s",
        "measured at/s",
        "p50 µs",
        "p90 µs",
        "p99 ms",
        "p99.9 ms",
        "p99 of all rounds",
        "p99 below 2 ms",
    ];
    Ok(pages::number_table(&head, rows))
}

fn stalls(stalls: &Stalls) -> String {
    let longest = stalls.longest * 1000.0;
    format!("{:.2} % of the time, at most {longest:.1} ms", stalls.part * 100.0)
}

fn limits(results: &Results) -> Result<String, Failure> {
    let empty = || Failure::from("a measurement is empty");
    let at_once = &results.storm.at_once;
    let paced = &results.storm.paced;
    let fewest = paced.iter().map(|storm| storm.admitted).min().ok_or_else(empty)?;
    let refused = paced.iter().map(|storm| storm.refused).max().ok_or_else(empty)?;
    let unanswered = paced.iter().map(|storm| storm.unanswered).max().ok_or_else(empty)?;
    let slowest = paced.iter().map(|storm| storm.seconds).fold(0.0, f64::max);
    let clients = paced.first().ok_or_else(empty)?.requests;
    let own = at_once.iter().filter_map(|storm| storm.admitted_by_callgate).min();
    let lowest = at_once.iter().map(|storm| storm.admitted).min().ok_or_else(empty)?;
    let highest = at_once.iter().map(|storm| storm.admitted).max().ok_or_else(empty)?;
    let count = |number: u64| thousands(number as f64);
    let memory = &results.memory;
    let third = results.soak.get(results.soak.len() / 3).ok_or_else(empty)?;
    let last = results.soak.last().ok_or_else(empty)?;
    let starts = &results.start.milliseconds;
    let median = starts.get(starts.len() / 2).ok_or_else(empty)?;
    let rows = [
        (
            format!(
                "{} clients, 1,000 concurrently, all processes on the same cores, default server timeout",
                count(clients)
            ),
            format!(
                "{} admitted in each of {} runs, {refused} refused, {unanswered} unanswered; the last after at \
                 most {slowest:.1} s",
                count(fewest),
                paced.len(),
            ),
        ),
        (
            "the same, all concurrently: more than nats-server can process within its own 2 s on these cores"
                .to_owned(),
            format!(
                "Callgate admitted {}; nats-server admitted {} to {} before it disconnected the others, which \
                 retry",
                count(own.ok_or_else(empty)?),
                count(lowest),
                count(highest),
            ),
        ),
        (
            format!(
                "memory after {} decisions for 100 servers and 100,000 tokens",
                count(memory.requests)
            ),
            format!(
                "{:.1} MiB resident, at most {:.1} MiB",
                memory.responder_mib, memory.responder_peak_mib
            ),
        ),
        (
            format!("memory under steady load for {:.0} minutes", (last.0 / 60.0).floor()),
            format!("{:.1} MiB after a third of the time, {:.1} MiB at the end", third.1, last.1),
        ),
        (
            "from start to ready, with a local server".to_owned(),
            format!("{median:.0} ms (median of {})", starts.len()),
        ),
    ];
    Ok(pages::table(&["measurement", "result"], rows.map(|(what, result)| vec![what, result])))
}
