//! A position in a text.

use std::sync::Arc;

use super::{ConfError, Location};

/// Reads a text character by character.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    file: Arc<str>,
    offset: usize,
    line: u32,
    column: u32,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(file: Arc<str>, text: &'a str) -> Self {
        Self { text, file, offset: 0, line: 1, column: 1 }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.offset += next.len_utf8();
        match next {
            '\n' => {
                self.line = self.line.saturating_add(1);
                self.column = 1;
            }
            _ => self.column = self.column.saturating_add(1),
        }
        Some(next)
    }

    /// Skips the next character if it is this one.
    pub(super) fn eat(&mut self, wanted: char) -> bool {
        let is_there = self.peek() == Some(wanted);
        if is_there {
            self.next();
        }
        is_there
    }

    pub(super) fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.next();
        }
    }

    /// In bytes.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// The text from an earlier offset to here.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.offset).unwrap_or_default()
    }

    /// The text that follows.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    pub(super) fn location(&self) -> Location {
        Location { file: Arc::clone(&self.file), line: self.line, column: self.column }
    }

    /// An error here.
    pub(super) fn error<T>(&self, problem: impl Into<String>) -> Result<T, ConfError> {
        Err(ConfError::new(&self.location(), problem))
    }
}
