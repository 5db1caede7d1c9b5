//! Subjects of permissions as text, without copies where possible.

use std::borrow::Cow;

use callgate::subject::{SubjectPattern, SubscribePattern};

/// A subject to publish to.
pub(crate) fn publish_text(pattern: &SubjectPattern) -> Cow<'_, str> {
    pattern.as_str().into()
}

/// A subject to subscribe to, and its queue group if it has one.
pub(crate) fn subscribe_text(pattern: &SubscribePattern) -> Cow<'_, str> {
    match pattern.queue() {
        Some(_) => pattern.to_string().into(),
        None => pattern.subject().as_str().into(),
    }
}
