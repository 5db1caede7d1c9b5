//! Configuration files: the first line is `toml`, `yaml` or `json`, the rest the file. Beside it lie
//! the files that the seeds name.

#![no_main]

use std::sync::LazyLock;

use callgate_fuzz::{
    assert_printable, callout::Keys, caught_panics_are_fine, first_line, scratch::Scratch,
};
use callgate_server::fuzzing::{Checked, check};
use libfuzzer_sys::fuzz_target;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(|| {
    let scratch = Scratch::new("config");
    let keys = Keys::golden();
    scratch.write("issuer.nk", keys.issuer_seed.as_bytes());
    scratch.write("xkey.xk", keys.xkey_seed.as_bytes());
    scratch.write("password", b"secret");
    scratch.write("users.json", br#"{ "alice": { "pass": "alice", "account": "APP" } }"#);
    scratch.write("keys.json", include_bytes!("../corpus/jwks/rfc8037"));
    scratch
});

fuzz_target!(init: caught_panics_are_fine(), |data: &[u8]| {
    let (format, text) = first_line(data);
    let name = match format {
        b"toml" => "callgate.toml",
        b"yaml" => "callgate.yaml",
        b"json" => "callgate.json",
        _ => return,
    };
    // Files that block or never end are not the parser's concern.
    if ["/dev", "/proc", "/sys"].iter().any(|path| memory(text, path)) {
        return;
    }
    let path = SCRATCH.write(name, text);
    let Checked { usable, faults, warnings } = check(&path);
    assert_eq!(usable, faults.is_empty(), "{faults:?}");
    assert_printable(&faults);
    assert_printable(&warnings);
    assert_eq!(Checked { usable, faults, warnings }, check(&path), "the same file, the same words");
});

fn memory(text: &[u8], path: &str) -> bool {
    text.windows(path.len()).any(|window| window == path.as_bytes())
}
