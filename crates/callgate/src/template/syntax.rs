//! Syntax errors of expressions, in words for people who write policies. The parser's own texts list the
//! tokens of its grammar, and are not used.

/// An error of the parser: line, column and its text.
pub(super) type ParserError<'a> = (isize, isize, &'a str);

/// The first of the errors that can be described; those after it are usually its consequences.
pub(super) fn describe<'a>(errors: impl Iterator<Item = ParserError<'a>>) -> String {
    let mut errors: Vec<ParserError<'a>> = errors.collect();
    errors.sort_by_key(|(line, column, _)| (*line, *column));
    let known = errors.iter().find_map(|at @ (.., text)| Some((at, in_plain_words(text)?)));
    match (known, errors.first()) {
        (Some(((line, column, _), text)), _) => format!("line {line}, column {column}: {text}"),
        (None, Some((line, column, _))) => {
            format!("line {line}, column {column}: invalid expression")
        }
        (None, None) => "invalid expression".to_owned(),
    }
}

fn in_plain_words(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix("Syntax error: ").unwrap_or(text);
    if let Some(rest) = text.strip_prefix("token recognition error at: '") {
        return Some(unknown_token(rest.strip_suffix('\'').unwrap_or(rest)));
    }
    if let Some(rest) = text.strip_prefix("missing '") {
        let (missing, _) = rest.split_once("' at ")?;
        return Some(format!("missing `{missing}`"));
    }
    for begin in ["mismatched input '", "extraneous input '", "no viable alternative at input '"] {
        if let Some(rest) = text.strip_prefix(begin) {
            let token = rest.split_once("' expecting ").map_or(rest, |(token, _)| token);
            return Some(unexpected(token.strip_suffix('\'').unwrap_or(token)));
        }
    }
    match text {
        "invalid argument to has() macro" => {
            Some("`has` takes the path of a claim, as in `has(claims.tenant)`".to_owned())
        }
        _ if text.ends_with("literal") => {
            Some("invalid number: too large, or malformed".to_owned())
        }
        _ => None,
    }
}

/// Characters with which no token begins.
fn unknown_token(token: &str) -> String {
    match token.chars().next() {
        Some('"' | '\'') => {
            "unclosed quote, or an unknown escape: write `\\\\` for a backslash".to_owned()
        }
        Some('\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}') => {
            "typographic quotes: write `\"` or `'`".to_owned()
        }
        Some('=') if !token.starts_with("=~") => "write `==` to compare".to_owned(),
        _ => unexpected(token.trim()),
    }
}

fn unexpected(token: &str) -> String {
    match token {
        "<EOF>" => "the expression ends where a value is expected".to_owned(),
        "and" | "AND" => format!("unexpected `{token}`: write `&&`"),
        "or" | "OR" => format!("unexpected `{token}`: write `||`"),
        token => format!("unexpected `{}`", token.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use crate::template::expression::parse;

    #[test]
    fn syntax_errors_are_plain_and_name_the_position() {
        let table = [
            ("", "ends where a value is expected"),
            ("user &&", "column 8: the expression ends"),
            ("user == \"x", "column 9: unclosed quote"),
            ("user = \"x\"", "column 6: write `==`"),
            ("user === \"x\"", "write `==`"),
            ("user =~ \"x\"", "unexpected `=~`"),
            ("(user", "missing `)`"),
            ("groups[0", "missing `]`"),
            ("user == \"x\")", "unexpected `)`"),
            ("user == \"x\" and true", "write `&&`"),
            ("user == \"x\" OR true", "write `||`"),
            ("user ? \"a\"", "ends where a value is expected"),
            ("claims.a.", "unexpected `.`"),
            ("claims..a", "unexpected `"),
            ("user == \u{201c}x\u{201d}", "typographic quotes"),
            ("user == \"x\" # why", "unexpected `#`"),
            ("user == \"\\q\"", "escape"),
            ("@user", "unexpected `@`"),
            ("99999999999999999999 > 1", "invalid number"),
            ("has(claims)", "as in `has(claims.tenant)`"),
        ];
        for (text, words) in table {
            let error = parse(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
            assert!(error.starts_with("line 1, column "), "{text}: {error}");
            for library in
                ["Syntax error", "expecting", "EOF", "NUM_", "IDENTIFIER", "token", "Context"]
            {
                assert!(!error.contains(library), "{text}: {error}");
            }
        }
    }
}
