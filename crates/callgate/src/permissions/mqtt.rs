//! Topic filters of MQTT that were written where a NATS subject belongs.

use crate::template::without_placeholders;

/// What is wrong with a subject that is written like an MQTT topic filter: `#` and `+` are ordinary tokens in
/// NATS, and `/` does not separate tokens, so the subject matches almost nothing. Placeholders of templates are
/// ignored.
///
/// ```
/// use callgate::permissions::mqtt_spelling;
///
/// assert_eq!(mqtt_spelling("sensors.*.temp"), None);
/// assert!(mqtt_spelling("sensors/+/temp").unwrap().contains("write `sensors.*.temp`"));
/// ```
pub fn mqtt_spelling(text: &str) -> Option<String> {
    let literal = without_placeholders(text);
    let subject = literal.split_whitespace().next()?;
    let is_mqtt =
        subject.contains('/') || subject.split('.').any(|token| token == "#" || token == "+");
    if !is_mqtt {
        return None;
    }
    let tokens = subject.trim_matches('/').split(['/', '.']).map(|token| match token {
        "#" => ">",
        "+" => "*",
        other => other,
    });
    let subject = tokens.collect::<Vec<_>>().join(".");
    let advice = match text.contains("{{") {
        true => "use `>`, `*` and `.`".to_owned(),
        false => format!("write `{subject}`"),
    };
    Some(format!(
        "is an MQTT topic filter, not a NATS subject (`#`, `+` and `/` have no meaning there): {advice}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_filters_are_recognized() {
        for (text, advice) in [
            ("sensors/#", Some("write `sensors.>`")),
            ("secret/#", Some("write `secret.>`")),
            ("sensors.#", Some("write `sensors.>`")),
            ("+.temp", Some("write `*.temp`")),
            ("#", Some("write `>`")),
            ("a/b", Some("write `a.b`")),
            ("/a/b", Some("write `a.b`")),
            ("a/b workers", Some("write `a.b`")),
            ("a/{{ user }}", Some("use `>`")),
            ("a.{{ user }}.#", Some("use `>`")),
            ("sensors.>", None),
            ("a+b.c#", None),
            ("a.{{ claims.x / 2 }}", None),
            ("a.{{ claims['/k8s.io/ns'] }}", None),
            ("jobs.* a/b", None),
            ("", None),
        ] {
            let found = mqtt_spelling(text);
            assert_eq!(found.is_some(), advice.is_some(), "{text}: {found:?}");
            let found = found.unwrap_or_default();
            assert!(found.contains(advice.unwrap_or_default()), "{text}: {found}");
        }
    }
}
