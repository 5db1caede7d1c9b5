//! Writes the packed form of an entry.

use std::{fmt::Display, time::Duration};

use crate::passwords::{Cost, Digest, StoredPassword};

/// Appends values to a byte string. Numbers take as many bytes as they need, 7 bits in each.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn small<const N: usize>(&mut self, numbers: [u32; N]) {
        numbers.into_iter().for_each(|number| self.number(u64::from(number)));
    }

    pub(super) fn signed(&mut self, number: i64) {
        self.fixed(&number.to_le_bytes());
    }

    pub(super) fn duration(&mut self, duration: Duration) {
        self.number(duration.as_secs());
        self.number(u64::from(duration.subsec_nanos()));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.fixed(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(super) fn texts(&mut self, texts: &[String]) {
        self.number(texts.len() as u64);
        texts.iter().for_each(|text| self.text(text));
    }

    /// Values by their text, from which they can be parsed again.
    pub(super) fn displayed<T: Display>(&mut self, values: &[T]) {
        self.number(values.len() as u64);
        values.iter().for_each(|value| self.text(&value.to_string()));
    }

    pub(super) fn optional<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(super) fn password(&mut self, password: &StoredPassword) {
        match password {
            StoredPassword::Clear(digest) => {
                self.0.push(0);
                self.fixed(digest);
            }
            StoredPassword::Hashed { cost, salt, expected } => {
                self.cost(*cost);
                self.bytes(salt);
                self.bytes(expected);
            }
        }
    }

    fn cost(&mut self, cost: Cost) {
        match cost {
            Cost::Argon2id { version, memory, passes, lanes, length } => {
                self.0.push(1);
                self.small([version, memory, passes, lanes]);
                self.number(length as u64);
            }
            Cost::Scrypt { log_n, r, p, length } => {
                self.0.push(2);
                self.0.push(log_n);
                self.small([r, p]);
                self.number(length as u64);
            }
            Cost::Bcrypt { cost } => {
                self.0.push(3);
                self.small([cost]);
            }
            Cost::Pbkdf2 { digest, rounds, length } => {
                self.0.push(match digest {
                    Digest::Sha256 => 4,
                    Digest::Sha512 => 5,
                });
                self.small([rounds]);
                self.number(length as u64);
            }
        }
    }
}
