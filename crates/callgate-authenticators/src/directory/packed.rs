//! Entries as bytes: a directory of a million users keeps only what it needs of each.
//!
//! What a listing or a search needs comes first and is read in place; the rest is read when a login needs the
//! entry. Only [`pack`] writes this form, and it never leaves the process.

mod reader;
mod writer;

use std::sync::Arc;

use callgate::{
    authn::{Origin, Proposal},
    clock::UnixTime,
    connection::ConnectionKinds,
    keys::UserKey,
    permissions::{PermissionTemplates, Permissions, Responses, Rules},
};

use self::{reader::Reader, writer::Writer};
use super::{Entry, credentials::CredentialDigest, entry::TokenHash};
use crate::{
    passwords::{Cost, StoredPassword},
    second_factor::Totp,
};

const DISABLED: u16 = 1;
const FAULTY: u16 = 1 << 1;
const OPERATORS: u16 = 1 << 2;
const UNRESTRICTED_IF_ALONE: u16 = 1 << 3;
const HAS_PASSWORD: u16 = 1 << 4;
const HAS_TOKEN: u16 = 1 << 5;
const HAS_NKEY: u16 = 1 << 6;
const HAS_ACCOUNT: u16 = 1 << 7;

/// What entries refer to instead of containing it.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    templates: Vec<Arc<PermissionTemplates>>,
    totp: Vec<Arc<Totp>>,
}

/// An entry in packed form.
#[derive(Clone, Copy)]
pub(crate) struct PackedEntry<'a> {
    bytes: &'a [u8],
    shelf: &'a Shelf,
}

impl Shelf {
    /// Entries of a file tend to resemble their neighbours, so equal templates are kept once.
    fn place_templates(&mut self, templates: &Arc<PermissionTemplates>) -> u64 {
        if self.templates.last() != Some(templates) {
            self.templates.push(Arc::clone(templates));
        }
        self.templates.len() as u64 - 1
    }

    fn place_totp(&mut self, totp: &Arc<Totp>) -> u64 {
        self.totp.push(Arc::clone(totp));
        self.totp.len() as u64 - 1
    }
}

/// The packed form of an entry.
pub(super) fn pack(entry: &Entry, shelf: &mut Shelf) -> Vec<u8> {
    let Entry {
        user,
        groups,
        claims,
        password,
        clear_text_digest,
        token,
        nkey,
        totp,
        disabled,
        faulty,
        expires,
        proposal,
        fingerprint,
        version,
    } = entry;
    let flags = [
        (*disabled, DISABLED),
        (*faulty, FAULTY),
        (proposal.origin == Origin::Operator, OPERATORS),
        (proposal.unrestricted_if_alone, UNRESTRICTED_IF_ALONE),
        (password.is_some(), HAS_PASSWORD),
        (token.is_some(), HAS_TOKEN),
        (nkey.is_some(), HAS_NKEY),
        (proposal.account.is_some(), HAS_ACCOUNT),
    ];
    let flags = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag);
    let mut writer = Writer::default();
    writer.fixed(&flags.sum::<u16>().to_le_bytes());
    writer.fixed(&fingerprint.to_le_bytes());
    writer.text(user);
    token.iter().for_each(|token| writer.fixed(token));
    nkey.iter().for_each(|nkey| writer.text(nkey.as_str()));
    password.iter().for_each(|password| writer.password(password));
    writer.optional(clear_text_digest.as_ref(), |writer, digest| writer.fixed(digest.bytes()));
    writer.number(*version);
    writer.optional(expires.as_ref(), |writer, end| writer.signed(end.seconds()));
    writer.optional(totp.as_ref(), |writer, totp| {
        writer.number(shelf.place_totp(totp));
    });
    writer.texts(groups);
    writer.optional((!claims.is_empty()).then_some(claims), |writer, claims| {
        writer.text(&serde_json::to_string(claims).unwrap_or_default());
    });
    pack_proposal(proposal, &mut writer, shelf);
    writer.into_bytes()
}

fn pack_proposal(proposal: &Proposal, writer: &mut Writer, shelf: &mut Shelf) {
    let Proposal {
        origin: _,
        account,
        roles,
        permissions,
        templates,
        source,
        connection_types,
        expires_after,
        unrestricted_if_alone: _,
    } = proposal;
    account.iter().for_each(|account| writer.text(account));
    writer.optional(roles.as_ref(), |writer, roles| writer.texts(roles));
    writer.optional(permissions.as_ref(), |writer, permissions| {
        let Permissions { publish, subscribe, responses } = permissions;
        writer.displayed(&publish.allow);
        writer.displayed(&publish.deny);
        writer.displayed(&subscribe.allow);
        writer.displayed(&subscribe.deny);
        writer.optional(responses.as_ref(), |writer, Responses { max, ttl }| {
            writer.optional(max.as_ref(), |writer, max| writer.number(u64::from(*max)));
            writer.optional(ttl.as_ref(), |writer, ttl| writer.duration(*ttl));
        });
    });
    writer.optional(templates.as_ref(), |writer, templates| {
        writer.number(shelf.place_templates(templates));
    });
    writer.optional(source.as_ref(), |writer, networks| writer.displayed(networks));
    writer.optional(connection_types.as_ref(), |writer, kinds| {
        writer.displayed(&kinds.iter().collect::<Vec<_>>());
    });
    writer.optional(expires_after.as_ref(), |writer, after| writer.duration(*after));
}

impl<'a> PackedEntry<'a> {
    pub(super) fn new(bytes: &'a [u8], shelf: &'a Shelf) -> Self {
        Self { bytes, shelf }
    }

    pub(crate) fn user(self) -> &'a str {
        self.after_user().map(|(user, _)| user).unwrap_or_default()
    }

    /// See [`Entry::fingerprint`].
    pub(crate) fn fingerprint(self) -> u64 {
        let mut reader = self.reader();
        let _flags = reader.fixed::<2>();
        reader.fixed().map(u64::from_le_bytes).unwrap_or_default()
    }

    pub(crate) fn is_disabled(self) -> bool {
        self.has(DISABLED)
    }

    pub(crate) fn is_faulty(self) -> bool {
        self.has(FAULTY)
    }

    /// See [`Proposal::unrestricted_if_alone`].
    pub(crate) fn is_unrestricted_if_alone(self) -> bool {
        self.has(UNRESTRICTED_IF_ALONE)
    }

    pub(crate) fn has_account(self) -> bool {
        self.has(HAS_ACCOUNT)
    }

    pub(crate) fn has_password(self) -> bool {
        self.has(HAS_PASSWORD)
    }

    /// The parameters of the password's hash, or `Some(None)` if it is clear text; `None` without a password.
    pub(crate) fn cost(self) -> Option<Option<Cost>> {
        self.has_password().then(|| {
            let mut reader = self.after_keys()?;
            reader.cost()
        })
    }

    pub(super) fn token(self) -> Option<TokenHash> {
        self.after_user().filter(|_| self.has(HAS_TOKEN))?.1.fixed()
    }

    pub(super) fn nkey(self) -> Option<&'a str> {
        let (_, mut reader) = self.after_user().filter(|_| self.has(HAS_NKEY))?;
        if self.has(HAS_TOKEN) {
            reader.fixed::<32>()?;
        }
        reader.text()
    }

    /// The entry. Always `Some`, since [`pack`] wrote it.
    pub(crate) fn unpack(self) -> Option<Entry> {
        let mut reader = self.after_keys()?;
        let nkey = self.nkey().map(str::parse::<UserKey>).transpose().ok()?;
        let password = match self.has_password() {
            true => Some(Arc::new(reader.password()?)),
            false => None,
        };
        let clear_text_digest =
            reader.optional(|reader| reader.fixed().map(CredentialDigest::from_bytes))?;
        let version = reader.number()?;
        let expires = reader.optional(|reader| reader.signed().map(UnixTime::from_seconds))?;
        let totp = reader.optional(|reader| self.shelf.totp.get(reader.index()?).cloned())?;
        let groups = reader.texts()?;
        let claims = reader.optional(|reader| serde_json::from_str(reader.text()?).ok())?;
        Some(Entry {
            user: self.user().to_owned(),
            groups,
            claims: claims.unwrap_or_default(),
            password,
            clear_text_digest,
            token: self.token(),
            nkey,
            totp,
            disabled: self.is_disabled(),
            faulty: self.is_faulty(),
            expires,
            proposal: self.proposal(&mut reader)?,
            fingerprint: self.fingerprint(),
            version,
        })
    }

    fn proposal(self, reader: &mut Reader<'a>) -> Option<Proposal> {
        let account = match self.has_account() {
            true => Some(reader.text()?.to_owned()),
            false => None,
        };
        let roles = reader.optional(Reader::texts)?;
        let permissions = reader.optional(read_permissions)?;
        let templates =
            reader.optional(|reader| self.shelf.templates.get(reader.index()?).cloned())?;
        let source = reader.optional(Reader::parsed)?;
        let kinds = reader.optional(Reader::parsed)?;
        let expires_after = reader.optional(Reader::duration)?;
        Some(Proposal {
            origin: if self.has(OPERATORS) { Origin::Operator } else { Origin::Outside },
            account,
            roles,
            permissions,
            templates,
            source,
            connection_types: kinds.map(|kinds| kinds.into_iter().collect::<ConnectionKinds>()),
            expires_after,
            unrestricted_if_alone: self.is_unrestricted_if_alone(),
        })
    }

    fn has(self, flag: u16) -> bool {
        self.reader().fixed().map(u16::from_le_bytes).is_some_and(|flags| flags & flag != 0)
    }

    fn reader(self) -> Reader<'a> {
        Reader::new(self.bytes)
    }

    /// The user, and what follows.
    fn after_user(self) -> Option<(&'a str, Reader<'a>)> {
        let mut reader = self.reader();
        reader.fixed::<10>()?;
        let user = reader.text()?;
        Some((user, reader))
    }

    /// What follows the credentials by which the entry is found.
    fn after_keys(self) -> Option<Reader<'a>> {
        let (_, mut reader) = self.after_user()?;
        if self.has(HAS_TOKEN) {
            reader.fixed::<32>()?;
        }
        if self.has(HAS_NKEY) {
            reader.text()?;
        }
        Some(reader)
    }
}

fn read_permissions(reader: &mut Reader<'_>) -> Option<Permissions> {
    let publish = Rules { allow: reader.parsed()?, deny: reader.parsed()? };
    let subscribe = Rules { allow: reader.parsed()?, deny: reader.parsed()? };
    let responses = reader.optional(|reader| {
        let max = reader.optional(|reader| u32::try_from(reader.number()?).ok())?;
        let ttl = reader.optional(Reader::duration)?;
        Some(Responses { max, ttl })
    })?;
    Some(Permissions { publish, subscribe, responses })
}

/// The stored form of a password, without its text.
pub(super) fn password_bytes(password: &StoredPassword) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.password(password);
    writer.into_bytes()
}

#[cfg(test)]
mod tests;
