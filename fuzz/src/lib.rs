//! Shared by the fuzz targets. Each target asserts what must hold for every input, not only that
//! nothing panics. The rules that it checks are implemented a second time, here or in the test kit,
//! independently of Callgate.

pub mod callout;
pub mod identity;
pub mod nats;
pub mod policy;
pub mod scratch;

/// The moment of all targets.
pub const NOW: i64 = 1_800_000_000;

/// The input's text before the first line end, and what follows it.
pub fn first_line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}

/// Texts for people are one line each, and cannot rewrite a terminal.
pub fn assert_printable(texts: &[String]) {
    for text in texts {
        assert!(!text.is_empty());
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}

/// Leaves panics that the code under test catches by itself alone: libFuzzer's crate would abort.
/// One that is not caught still ends the target.
pub fn caught_panics_are_fine() {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}
