//! Configurations of nats-server, as `callgate import` reads them.

#![no_main]

use callgate_server::fuzzing::import;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Err(error) = import(data) {
        assert!(error.starts_with("nats-server.conf:"), "{error}");
    }
});
