//! `totp` of an entry.

use std::time::Duration;

use callgate_config::{Key, Table, Type};

use super::totp::{Algorithm, Totp};

/// The type of `totp` in an entry.
pub(crate) const TOTP: Type = Type::OneOf(&[Type::Text, Type::Table(TOTP_KEYS)]);

const TOTP_KEYS: &[Key] = &[
    Key::required("secret", Type::Secret, "the shared secret in base32, at least 16 bytes"),
    Key::optional("digits", Type::Integer(6, 8), "digits of a code: 6 or 8").or("6"),
    Key::optional("period", Type::Duration, "how long a code is shown").or("\"30s\""),
    Key::optional("algorithm", Type::Word(&["SHA1", "SHA256", "SHA512"]), "hash of the codes")
        .or("\"SHA1\""),
];

/// Reads `totp` of an entry: a URI, or a table.
pub(crate) fn read_totp(table: &mut Table<'_>) -> Option<Totp> {
    let item = table.raw("totp")?;
    let totp = match item.value().is_object() {
        false => Totp::from_uri(&item.string()?.into()),
        true => {
            let mut table = item.table()?;
            let before = table.report().fault_count();
            if !table.has("secret") {
                table.fault_here("`secret` is missing");
            }
            let secret = table.secret("secret");
            let digits = table.integer("digits", 6..=8).unwrap_or(6);
            let period = table.duration("period").unwrap_or(Duration::from_secs(30));
            let algorithm: Option<Algorithm> = table.parse("algorithm");
            let unchanged = table.report().fault_count() == before;
            table.finish();
            let digits = u32::try_from(digits).unwrap_or_default();
            Totp::new(&secret.filter(|_| unchanged)?, digits, period, algorithm.unwrap_or_default())
        }
    };
    totp.map_err(|error| item.fault(error)).ok()
}
