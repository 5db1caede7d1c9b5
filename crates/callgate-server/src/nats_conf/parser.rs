//! Keys, maps, lists, comments and included files.

use std::{path::Path, sync::Arc};

use super::{ConfError, Entry, Location, Map, Node, Outside, Value, cursor::Cursor};

/// Nested maps and lists.
const MAX_DEPTH: usize = 64;
/// Files that include each other.
const MAX_INCLUDES: usize = 16;
/// Values in all, with those that variables copy.
const MAX_VALUES: usize = 1_000_000;
/// Of one file, in bytes.
const MAX_FILE: usize = 16 * 1024 * 1024;

/// What the files of one configuration share.
pub(super) struct Session<'a> {
    outside: &'a dyn Outside,
    includes: usize,
    values_left: usize,
    /// Variables of the environment that are being read.
    pub(super) variables: Vec<String>,
    pub(super) overridden: Vec<(String, Location)>,
}

impl<'a> Session<'a> {
    pub(super) fn new(outside: &'a dyn Outside) -> Self {
        Self {
            outside,
            includes: 0,
            values_left: MAX_VALUES,
            variables: Vec::new(),
            overridden: Vec::new(),
        }
    }

    /// Reads the file of a configuration.
    pub(super) fn file(&mut self, path: &Path) -> Result<Map, ConfError> {
        let start = Location { file: name(path), line: 1, column: 1 };
        let text = self.load(path).map_err(|problem| ConfError::new(&start, problem))?;
        self.parse_file(path, &text)
    }

    fn load(&self, path: &Path) -> Result<String, String> {
        let bytes = self.outside.read(path).map_err(|error| format!("cannot read it: {error}"))?;
        if bytes.len() > MAX_FILE {
            return Err(format!("has more than {MAX_FILE} bytes"));
        }
        String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
    }

    fn parse_file(&mut self, path: &Path, text: &str) -> Result<Map, ConfError> {
        self.text(name(path), text, path.parent().unwrap_or(Path::new("")))
    }

    /// Reads a text; `folder` is what its `include` is relative to.
    pub(super) fn text(
        &mut self,
        file: Arc<str>,
        text: &str,
        folder: &Path,
    ) -> Result<Map, ConfError> {
        let cursor = Cursor::new(file, text);
        if text.contains('\0') {
            return cursor.error("contains a NUL byte");
        }
        let parser = Parser { cursor, session: self, folder, scopes: Vec::new(), depth: 0 };
        parser.document()
    }

    pub(super) fn environment(&self, name: &str) -> Option<String> {
        self.outside.variable(name)
    }

    /// Counts values; false if there are too many.
    pub(super) fn takes(&mut self, values: usize) -> bool {
        let left = self.values_left.checked_sub(values);
        self.values_left = left.unwrap_or_default();
        left.is_some()
    }
}

/// Reads one file.
pub(super) struct Parser<'a, 's> {
    pub(super) cursor: Cursor<'a>,
    pub(super) session: &'a mut Session<'s>,
    folder: &'a Path,
    /// The maps around the current position, for variables.
    pub(super) scopes: Vec<Map>,
    depth: usize,
}

/// What encloses keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    File,
    /// Braces around a whole file, as in JSON.
    Braces,
    Map,
}

impl Parser<'_, '_> {
    fn document(mut self) -> Result<Map, ConfError> {
        self.scopes.push(Map::default());
        self.skip_blank();
        match self.cursor.eat('{') {
            true => {
                self.members(Body::Braces)?;
                self.skip_blank();
                if self.cursor.peek().is_some() {
                    return self.cursor.error("unexpected text after the final `}`");
                }
            }
            false => self.members(Body::File)?,
        }
        Ok(self.scopes.pop().unwrap_or_default())
    }

    /// Reads keys and values to the end of the file or the map.
    fn members(&mut self, body: Body) -> Result<(), ConfError> {
        loop {
            self.skip_blank();
            match self.cursor.peek() {
                None if body == Body::File => return Ok(()),
                None => return self.cursor.error("missing `}` at the end"),
                Some('}') if body != Body::File => {
                    self.cursor.next();
                    return Ok(());
                }
                Some(_) => self.member(body)?,
            }
            self.end_of_member(body)?;
        }
    }

    fn member(&mut self, body: Body) -> Result<(), ConfError> {
        let start = self.cursor.offset();
        let at = self.cursor.location();
        let key = match self.cursor.peek() {
            Some(quote @ ('"' | '\'')) => self.raw_quoted(quote)?,
            Some(_) | None => {
                let key = self.bare_key()?;
                let is_include = key.eq_ignore_ascii_case("include");
                if is_include && self.cursor.peek().is_some_and(char::is_whitespace) {
                    return self.include();
                }
                key
            }
        };
        self.cursor.skip_while(char::is_whitespace);
        if self.cursor.peek().is_some_and(is_separator) {
            self.cursor.next();
            match body {
                Body::File | Body::Braces => self.cursor.skip_while(is_blank),
                Body::Map => self.cursor.skip_while(char::is_whitespace),
            }
        }
        let node = self.value()?;
        self.insert(Entry { key, at, start, node, is_used: false });
        Ok(())
    }

    /// Reads to the end of the line or to the separator after a value.
    fn end_of_member(&mut self, body: Body) -> Result<(), ConfError> {
        self.cursor.skip_while(is_blank);
        self.skip_comment();
        match self.cursor.peek() {
            None if body == Body::File => Ok(()),
            Some('}') if body != Body::File => Ok(()),
            Some('\n' | '\r' | ';' | ',') => {
                self.cursor.next();
                Ok(())
            }
            None => self.cursor.error("missing `}` at the end"),
            Some(other) => self.cursor.error(format!(
                "expected the end of the line, `,` or `}}` after the value, found `{}`",
                other.escape_debug()
            )),
        }
    }

    fn insert(&mut self, entry: Entry) {
        let Some(scope) = self.scopes.last_mut() else { return };
        if let Some(old) = scope.insert(entry) {
            self.session.overridden.push((old.key, old.at));
        }
    }

    fn bare_key(&mut self) -> Result<String, ConfError> {
        let start = self.cursor.offset();
        while let Some(next) = self.cursor.peek() {
            if next.is_whitespace() || is_separator(next) {
                break;
            }
            if matches!(next, '{' | '}' | '[' | ']' | '(' | ')' | ',' | ';' | '"' | '\'') {
                return self.cursor.error(format!(
                    "`{next}` in a key: put a space or a separator before it, or quote the key"
                ));
            }
            self.cursor.next();
        }
        match self.cursor.since(start) {
            "" => self.cursor.error("expected a key"),
            key if key.starts_with('/') => self.cursor.error("a key must not begin with `/`"),
            _ if self.cursor.peek().is_none() => self.cursor.error("the key has no value"),
            key => Ok(key.to_owned()),
        }
    }

    fn include(&mut self) -> Result<(), ConfError> {
        self.cursor.skip_while(is_blank);
        let at = self.cursor.location();
        let name = match self.cursor.peek() {
            Some(quote @ ('"' | '\'')) => self.raw_quoted(quote)?,
            Some('[' | '{' | '(' | '-' | '\\') => return self.cursor.error("expected a file name"),
            Some(digit) if digit.is_numeric() => {
                return self.cursor.error("expected a file name, quoted if it begins with a digit");
            }
            Some(_) | None => {
                let start = self.cursor.offset();
                self.cursor
                    .skip_while(|c| !is_blank(c) && !matches!(c, '\n' | '\r' | ';' | '}' | '\''));
                self.cursor.since(start).to_owned()
            }
        };
        if name.is_empty() || self.cursor.peek() == Some('\'') {
            return Err(ConfError::new(&at, "expected a file name"));
        }
        if self.session.includes >= MAX_INCLUDES {
            return Err(ConfError::new(&at, format!("more than {MAX_INCLUDES} nested includes")));
        }
        // nats-server joins the folder even with an absolute path.
        let path = self.folder.join(name.trim_start_matches('/'));
        self.session.includes += 1;
        let included = self
            .session
            .load(&path)
            .map_err(|problem| ConfError::new(&at, format!("`{}`: {problem}", path.display())))?;
        let map = self.session.parse_file(&path, &included)?;
        self.session.includes -= 1;
        map.0.into_iter().for_each(|entry| self.insert(entry));
        Ok(())
    }

    /// Reads a value.
    fn value(&mut self) -> Result<Node, ConfError> {
        if !self.session.takes(1) {
            return self.cursor.error(format!("more than {MAX_VALUES} values"));
        }
        let start = self.cursor.offset();
        let at = self.cursor.location();
        let (value, variable) = match self.cursor.peek() {
            Some('{') => (self.nested(Self::map)?, None),
            Some('[') => (self.nested(Self::array)?, None),
            Some('$') => self.bare_or_variable()?,
            Some(_) | None => (self.scalar()?, None),
        };
        Ok(Node { value, at, span: start..self.cursor.offset(), variable })
    }

    fn nested(
        &mut self,
        read: impl Fn(&mut Self) -> Result<Value, ConfError>,
    ) -> Result<Value, ConfError> {
        if self.depth >= MAX_DEPTH {
            return self.cursor.error(format!("more than {MAX_DEPTH} nested maps and lists"));
        }
        self.depth += 1;
        self.cursor.next();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn map(&mut self) -> Result<Value, ConfError> {
        self.scopes.push(Map::default());
        self.members(Body::Map)?;
        Ok(Value::Map(self.scopes.pop().unwrap_or_default()))
    }

    fn array(&mut self) -> Result<Value, ConfError> {
        let mut items = Vec::new();
        loop {
            self.skip_blank();
            match self.cursor.peek() {
                Some(']') => break,
                Some(',') => return self.cursor.error("unexpected `,` in a list"),
                Some(_) | None => items.push(self.value()?),
            }
            self.cursor.skip_while(is_blank);
            self.skip_comment();
            match self.cursor.peek() {
                Some(']') => break,
                Some(',' | '\n' | '\r') => drop(self.cursor.next()),
                Some(_) | None => return self.cursor.error("expected `,` or `]` in a list"),
            }
        }
        self.cursor.next();
        Ok(Value::Array(items))
    }

    /// Skips white space, line ends and comments.
    fn skip_blank(&mut self) {
        loop {
            self.cursor.skip_while(char::is_whitespace);
            if !self.skip_comment() {
                return;
            }
        }
    }

    /// Skips a comment, without its line end; false if there is none.
    fn skip_comment(&mut self) -> bool {
        let rest = self.cursor.rest();
        let is_comment = rest.starts_with('#') || rest.starts_with("//");
        if is_comment {
            self.cursor.skip_while(|c| !matches!(c, '\n' | '\r'));
        }
        is_comment
    }
}

fn name(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}

/// White space within a line.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

fn is_separator(c: char) -> bool {
    matches!(c, '=' | ':')
}
