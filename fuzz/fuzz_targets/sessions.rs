//! Messages between replicas about sessions: what is decoded, encodes to the same again, and a short message does
//! not become large.

#![no_main]

use callgate_server::fuzzing::session_message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some([once, again]) = session_message(data) else { return };
    // The shortest item, of an ended session, has 34 bytes.
    assert!(once.len() * 34 <= data.len());
    assert_eq!(once, again);
});
