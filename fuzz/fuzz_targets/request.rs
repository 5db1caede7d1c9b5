//! Opening requests: any header and any bytes, with an xkey and without. The seeds are requests of a
//! real server.

#![no_main]

use std::sync::LazyLock;

use callgate::{Reply, record::Outcome};
use callgate_fuzz::{NOW, callout::Gate, first_line};
use libfuzzer_sys::fuzz_target;

static GATES: LazyLock<[Gate; 2]> = LazyLock::new(|| [Gate::new(true), Gate::new(false)]);

fuzz_target!(|data: &[u8]| {
    let (header, payload) = first_line(data);
    let Ok(header) = std::str::from_utf8(header) else { return };
    let header = (!header.is_empty()).then_some(header);
    for (callout, with_xkey) in GATES.iter().zip([true, false]) {
        let now = callout.request_time(payload, header).unwrap_or(NOW);
        let (reply, decision) = callout.handle(payload, header, now);
        let (_, again) = callout.handle(payload, header, now);
        assert_eq!(decision.reason, again.reason, "the same message, the same decision");
        assert!(!decision.detail.chars().any(|c| c == '\n' || c == '\u{1b}'), "{decision:?}");
        if decision.outcome() == Outcome::Dropped {
            continue;
        }
        // With an xkey a request in clear is dropped, without one a sealed one.
        assert_eq!(payload.starts_with(b"xkv1"), with_xkey);
        let Reply::Answer(answer) = reply else { unreachable!() };
        assert_eq!(answer.starts_with(b"xkv1"), with_xkey, "sealed answers to sealed requests");
        // Signatures and boxes cannot be forged: a request that is answered is no longer answered with one bit
        // flipped.
        let mut spoilt = payload.to_vec();
        let middle = spoilt.len() / 2;
        spoilt[middle] ^= 1;
        assert_eq!(callout.handle(&spoilt, header, now).1.outcome(), Outcome::Dropped);
    }
});
