//! `callgate-bench floor`: a decision beside the cryptography that it cannot do without.

use std::{hint::black_box, time::Instant};

use aws_lc_rs::signature::Ed25519KeyPair;
use callgate::{
    Callgate, User,
    clock::UnixTime,
    draft::{MadeUpServer, Presented, RequestDraft},
    keys::{AccountSigner, CurveKey, Signer},
    secret::Secret,
};

use crate::Failure;

/// Time the bare cryptography that a decision cannot do without, and the decision itself
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many rounds of each, interleaved; the best counts
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// How many operations in a round
    #[arg(long, default_value_t = 2000)]
    operations: usize,
}

/// The best of several rounds, in microseconds for each operation.
struct Best(f64);

impl Best {
    fn note(&mut self, started: Instant, operations: usize) {
        self.0 = self.0.min(started.elapsed().as_secs_f64() * 1e6 / operations as f64);
    }
}

#[expect(clippy::print_stdout, reason = "the result of a command-line tool")]
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let (signer, xkey) = (AccountSigner::generate()?, CurveKey::generate()?);
    let (issuer, public) = (signer.public_key().clone(), xkey.public_key().clone());
    let server = MadeUpServer::new()?;
    let now = UnixTime::now();
    let presented = Presented { token: Some(Secret::new("t".repeat(40))), ..Presented::default() };
    let request = RequestDraft::new(presented).sign_as(&server, &issuer, Some(&public), now)?;
    let shared = xkey.shared_with(server.xkey().public_key())?;
    let plain = shared.open(&request.payload)?;
    let (signed, signature) = split(&plain)?;
    let server_key: callgate::keys::ServerKey = server.id().parse()?;
    let verifying = server_key.verifying()?;
    let key = Ed25519KeyPair::generate()?;
    let gate = Callgate::builder(signer)
        .xkey(xkey)
        .authorize(|_| async { Ok(User::in_account("APP").publish("a.>").subscribe("_INBOX.>")) })
        .build()?;
    let answer = vec![b'x'; 1400];

    let (mut verify, mut sign, mut open, mut seal, mut decision) =
        (Best(f64::MAX), Best(f64::MAX), Best(f64::MAX), Best(f64::MAX), Best(f64::MAX));
    for _ in 0..args.rounds.max(1) {
        let started = Instant::now();
        for _ in 0..args.operations {
            black_box(verifying.verifies(signed, &signature));
        }
        verify.note(started, args.operations);
        let started = Instant::now();
        for _ in 0..args.operations {
            black_box(key.sign(&answer));
        }
        sign.note(started, args.operations);
        let started = Instant::now();
        for _ in 0..args.operations {
            black_box(shared.open(&request.payload)?);
        }
        open.note(started, args.operations);
        let started = Instant::now();
        for _ in 0..args.operations {
            black_box(shared.seal(&answer)?);
        }
        seal.note(started, args.operations);
        let started = Instant::now();
        for _ in 0..args.operations {
            black_box(gate.handle(&request.payload, request.xkey_header.as_deref(), now).await);
        }
        decision.note(started, args.operations);
    }
    let floor = verify.0 + 2.0 * sign.0 + open.0 + seal.0;
    println!("verify a request   {:7.2} µs", verify.0);
    println!("sign (twice)       {:7.2} µs each", sign.0);
    println!("open               {:7.2} µs", open.0);
    println!("seal               {:7.2} µs", seal.0);
    println!("the floor          {floor:7.2} µs");
    println!("a whole decision   {:7.2} µs = {:.2} × the floor", decision.0, decision.0 / floor);
    Ok(())
}

fn split(token: &[u8]) -> Result<(&[u8], Vec<u8>), Failure> {
    let text = std::str::from_utf8(token)?;
    let (signed, signature) = text.rsplit_once('.').ok_or("no JWT")?;
    Ok((signed.as_bytes(), data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes())?))
}
