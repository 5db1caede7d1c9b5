//! Strings, numbers, times and booleans.

use jiff::Timestamp;

use super::{
    ConfError, Value,
    parser::{Parser, is_blank},
};

impl Parser<'_, '_> {
    /// Reads anything but a map, a list and a variable.
    pub(super) fn scalar(&mut self) -> Result<Value, ConfError> {
        match self.cursor.peek() {
            Some('\'') => self.raw_quoted('\'').map(Value::String),
            Some('"') => self.escaped_quoted().map(Value::String),
            Some('(') => self.block().map(Value::String),
            Some('-') => self.negative(),
            Some('0'..='9') => self.number(),
            Some('.') => self.cursor.error("a number must begin with a digit"),
            Some('\n' | '\r') | None => self.cursor.error("expected a value"),
            Some(digit) if digit.is_numeric() => self.cursor.error("expected an ASCII digit"),
            Some(_) => self.bare(self.cursor.offset()),
        }
    }

    /// Reads a text in quotes that has no escapes.
    pub(super) fn raw_quoted(&mut self, quote: char) -> Result<String, ConfError> {
        let opening = self.cursor.location();
        self.cursor.next();
        let start = self.cursor.offset();
        self.cursor.skip_while(|c| c != quote);
        let text = self.cursor.since(start).to_owned();
        match self.cursor.eat(quote) {
            true => Ok(text),
            false => Err(ConfError::new(&opening, "the quote is never closed")),
        }
    }

    fn escaped_quoted(&mut self) -> Result<String, ConfError> {
        let opening = self.cursor.location();
        self.cursor.next();
        let mut text = String::new();
        loop {
            match self.cursor.peek() {
                None => return Err(ConfError::new(&opening, "the quote is never closed")),
                Some('"') => {
                    self.cursor.next();
                    return Ok(text);
                }
                Some('\\') => text.push(self.escape()?),
                Some(other) => {
                    self.cursor.next();
                    text.push(other);
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, ConfError> {
        let at = self.cursor.location();
        self.cursor.next();
        match self.cursor.next() {
            Some('t') => Ok('\t'),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some(same @ ('"' | '\\')) => Ok(same),
            Some('x') => {
                let start = self.cursor.offset();
                self.cursor.next();
                self.cursor.next();
                let digits = self.cursor.since(start);
                let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                match u8::from_str_radix(digits, 16) {
                    Ok(byte) if is_hex && digits.len() == 2 && (1..0x80).contains(&byte) => {
                        Ok(char::from(byte))
                    }
                    Ok(_) | Err(_) => Err(ConfError::new(&at, "expected `\\x01` to `\\x7f`")),
                }
            }
            Some(_) | None => {
                Err(ConfError::new(&at, "unknown escape: use \\xXX, \\t, \\n, \\r, \\\" or \\\\"))
            }
        }
    }

    /// Reads `(` to a `)` that stands alone on its line.
    fn block(&mut self) -> Result<String, ConfError> {
        let opening = self.cursor.location();
        self.cursor.next();
        let start = self.cursor.offset();
        let mut previous = '(';
        while let Some(next) = self.cursor.peek() {
            if next == ')' && previous == '\n' {
                let text = self.cursor.since(start);
                self.cursor.next();
                if matches!(self.cursor.peek(), Some('\n') | None) {
                    return Ok(text.to_owned());
                }
            } else {
                self.cursor.next();
            }
            previous = next;
        }
        Err(ConfError::new(&opening, "the block needs a `)` alone on a line"))
    }

    /// Reads a text without quotes; `start` is where it begins. Also tells whether it has escapes.
    pub(super) fn bare_text(&mut self, start: usize) -> Result<(String, bool), ConfError> {
        let mut text = self.cursor.since(start).to_owned();
        let mut has_escapes = false;
        while let Some(next) = self.cursor.peek() {
            match next {
                '\n' | '\r' | ';' | ',' | ']' | '}' | ' ' | '\t' => break,
                '\'' => {
                    return self.cursor.error("a quote inside a string: quote the whole string");
                }
                '\\' => {
                    has_escapes = true;
                    text.push(self.escape()?);
                }
                _ => {
                    self.cursor.next();
                    text.push(next);
                }
            }
        }
        match text.is_empty() {
            true => self.cursor.error("expected a value"),
            false => Ok((text, has_escapes)),
        }
    }

    fn bare(&mut self, start: usize) -> Result<Value, ConfError> {
        let (text, has_escapes) = self.bare_text(start)?;
        let boolean = match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" => Some(true),
            "false" | "off" | "no" => Some(false),
            _ => None,
        };
        Ok(match boolean.filter(|_| !has_escapes) {
            Some(value) => Value::Bool(value),
            None => Value::String(text),
        })
    }

    fn negative(&mut self) -> Result<Value, ConfError> {
        let start = self.cursor.offset();
        self.cursor.next();
        if !self.cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
            return self
                .cursor
                .error("expected a digit after `-`: quote strings that begin with it");
        }
        self.cursor.skip_while(|c| c.is_ascii_digit());
        match self.cursor.peek() {
            Some('.') => self.float(start),
            Some(unit) if is_unit(unit) => self.with_unit(start),
            Some(_) | None => self.integer(start),
        }
    }

    /// Reads an integer, a float, a time, an address, or a string that begins with a digit.
    fn number(&mut self) -> Result<Value, ConfError> {
        let start = self.cursor.offset();
        self.cursor.skip_while(|c| c.is_ascii_digit());
        match self.cursor.peek() {
            Some('-') if self.cursor.since(start).len() == 4 => self.time(start),
            Some('-') => {
                self.cursor.error("expected a time such as 2026-01-31T08:00:00Z: quote strings")
            }
            Some('.') => self.float(start),
            Some(unit) if is_unit(unit) => self.with_unit(start),
            next if ends_number(next) => self.integer(start),
            Some(digit) if digit.is_numeric() => self.cursor.error("expected an ASCII digit"),
            // Also `]`, which nats-server takes for a part of the string here.
            Some(_) | None => {
                self.cursor.next();
                self.bare(start)
            }
        }
    }

    fn float(&mut self, start: usize) -> Result<Value, ConfError> {
        self.cursor.next();
        if !self.cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
            return self.cursor.error("expected a digit after `.`: quote strings");
        }
        self.cursor.skip_while(|c| c.is_ascii_digit());
        if self.cursor.peek() == Some('.') {
            self.cursor.skip_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':' | '-'));
            return Ok(Value::String(self.cursor.since(start).to_owned()));
        }
        match self.cursor.since(start).parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Float(number)),
            Ok(_) | Err(_) => self.cursor.error("the number is out of range"),
        }
    }

    fn with_unit(&mut self, start: usize) -> Result<Value, ConfError> {
        self.cursor.next();
        self.cursor.skip_while(|c| matches!(c, 'b' | 'B' | 'i' | 'I'));
        let next = self.cursor.peek();
        match ends_number(next) || next.is_some_and(|c| c.is_ascii_digit()) {
            true => self.integer(start),
            false => self.bare(start),
        }
    }

    fn integer(&self, start: usize) -> Result<Value, ConfError> {
        let text = self.cursor.since(start);
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let Some(unit) = text.strip_prefix(digits).and_then(factor) else {
            return self.cursor.error("unknown unit: use k, kb, ki, kib, m, mb and so on");
        };
        let number = digits.parse::<i64>().ok().and_then(|number| number.checked_mul(unit));
        match number {
            Some(number) => Ok(Value::Integer(number)),
            None => self.cursor.error("the number is out of range"),
        }
    }

    fn time(&mut self, start: usize) -> Result<Value, ConfError> {
        for expected in "-00-00T00:00:00Z".chars() {
            let next = self.cursor.peek();
            let is_expected = match expected {
                '0' => next.is_some_and(|c| c.is_ascii_digit()),
                other => next == Some(other),
            };
            if !is_expected {
                return self
                    .cursor
                    .error("expected a time such as 2026-01-31T08:00:00Z: quote strings");
            }
            self.cursor.next();
        }
        let text = self.cursor.since(start);
        match text.parse::<Timestamp>() {
            Ok(_) if !text.ends_with(":60Z") => Ok(Value::DateTime(text.to_owned())),
            Ok(_) | Err(_) => self.cursor.error("there is no such time"),
        }
    }
}

fn is_unit(c: char) -> bool {
    matches!(c.to_ascii_lowercase(), 'k' | 'm' | 'g' | 't' | 'p' | 'e')
}

fn ends_number(next: Option<char>) -> bool {
    next.is_none_or(|c| is_blank(c) || matches!(c, '\n' | '\r' | '}' | ';' | ','))
}

/// The factor of a unit of numbers.
fn factor(unit: &str) -> Option<i64> {
    let power = |base: i64, unit: &str| {
        let exponent = "kmgtpe".find(unit)?;
        base.checked_pow(u32::try_from(exponent).ok()? + 1)
    };
    let unit = unit.to_ascii_lowercase();
    match unit.as_str() {
        "" => Some(1),
        _ if unit.len() == 1 => power(1000, &unit),
        _ => {
            let binary = unit.strip_suffix("ib").or_else(|| unit.strip_suffix(['b', 'i']))?;
            (binary.len() == 1).then(|| power(1024, binary)).flatten()
        }
    }
}
