//! How nats-server compares subjects (sublist.go), reimplemented in the simplest way.

/// Does a pattern match a subject without wildcards?
pub fn matches(pattern: &str, subject: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let subject: Vec<&str> = subject.split('.').collect();
    for (at, token) in pattern.iter().enumerate() {
        match *token {
            ">" => return subject.len() > at,
            "*" if at < subject.len() => {}
            literal if subject.get(at) == Some(&literal) => {}
            _ => return false,
        }
    }
    pattern.len() == subject.len()
}

/// Some subjects that a pattern matches, among them the shortest.
pub fn samples(pattern: &str) -> Vec<String> {
    let star = |word: &str| {
        let tokens = pattern.split('.').map(|token| if token == "*" { word } else { token });
        tokens.collect::<Vec<_>>().join(".")
    };
    let mut samples = Vec::new();
    for word in ["a", "b", "zz"] {
        let text = star(word);
        match text.strip_suffix('>') {
            Some(start) => samples.extend([format!("{start}{word}"), format!("{start}{word}.q")]),
            None => samples.push(text),
        }
    }
    samples
}
