//! The part of BER that LDAP uses (RFC 4511 section 5.1): single-byte tags and definite lengths.

/// Universal tags.
pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// Appends an element whose content is the concatenation of `parts`.
pub(crate) fn put(out: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        // Four bytes are allowed where fewer would do, and no request is longer than that.
        _ => {
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            out.push(0x84);
            out.extend(length.to_be_bytes());
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// An element as bytes.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + 6);
    put(&mut out, tag, parts);
    out
}

/// An INTEGER or, with another tag, an ENUMERATED.
pub(crate) fn number(tag: u8, value: i32) -> Vec<u8> {
    element(tag, &[&value.to_be_bytes()])
}

/// Reads elements one after another. It never looks into an element, so nesting costs nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its tag and content. `None` at the end, and if it is malformed.
    pub(crate) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (length, header) = length(rest)?;
        let content = rest.get(header..)?;
        let (content, rest) = content.split_at_checked(length)?;
        self.0 = rest;
        (tag & 0x1f != 0x1f).then_some((*tag, content))
    }

    /// The content of the next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().and_then(|(found, content)| (found == tag).then_some(content))
    }

    /// The next element, which must be a number with this tag.
    pub(crate) fn number(&mut self, tag: u8) -> Option<i32> {
        let content = self.expect(tag)?;
        let (first, _) = content.split_first()?;
        let start = if first & 0x80 == 0 { 0 } else { -1 };
        (content.len() <= 4)
            .then(|| content.iter().fold(start, |value: i32, byte| value << 8 | i32::from(*byte)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The length at the start of `bytes`, and how many bytes it takes. `None` if it is incomplete,
/// indefinite, or over four bytes long.
pub(crate) fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let (first, rest) = bytes.split_first()?;
    match *first {
        short @ 0..=0x7f => Some((usize::from(short), 1)),
        long @ 0x81..=0x84 => {
            let count = usize::from(long & 0x7f);
            let length =
                rest.get(..count)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            Some((length, count + 1))
        }
        _ => None,
    }
}
