//! Subjects with `{{ … }}` in them, of one entry in the operator's own files: compiled when the file
//! is loaded, filled when somebody logs in.

use super::{lint::self_asserted_warning, permissions::Permissions, role::Side, template::Pattern};
use crate::subject::{SubjectPattern, SubscribePattern};

/// One of the lists of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermissionList {
    /// `publish.allow`
    PublishAllow,
    /// `publish.deny`
    PublishDeny,
    /// `subscribe.allow`
    SubscribeAllow,
    /// `subscribe.deny`
    SubscribeDeny,
}

/// Why a text is no subject with templates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

/// Permissions of one entry whose subjects have templates in them; its others are plain
/// [`Permissions`](super::permissions::Permissions).
#[derive(Debug, Default)]
pub struct PermissionTemplates {
    pub(super) publish: Side<SubjectPattern>,
    pub(super) subscribe: Side<SubscribePattern>,
}

impl PermissionTemplates {
    /// Compiles `text` into `list`. What comes back are warnings: parts of it that only the client
    /// says.
    ///
    /// # Errors
    /// Says what is wrong with the subject or with an expression in it.
    pub fn add(&mut self, list: PermissionList, text: &str) -> Result<Vec<String>, TemplateError> {
        let mut said = Vec::new();
        let Self { publish, subscribe } = self;
        let added = match list {
            PermissionList::PublishAllow => {
                Pattern::parse(text, &mut said).map(|it| publish.allow.push(it))
            }
            PermissionList::PublishDeny => {
                Pattern::parse(text, &mut said).map(|it| publish.deny.push(it))
            }
            PermissionList::SubscribeAllow => {
                Pattern::parse(text, &mut said).map(|it| subscribe.allow.push(it))
            }
            PermissionList::SubscribeDeny => {
                Pattern::parse(text, &mut said).map(|it| subscribe.deny.push(it))
            }
        };
        added.map_err(TemplateError)?;
        Ok(said.into_iter().map(self_asserted_warning).collect())
    }

    /// `plain`, and beside it the widest that each of these can become.
    pub(super) fn widened(&self, plain: &Permissions) -> Permissions {
        let Self { publish, subscribe } = self;
        let mut all = plain.clone();
        all.publish.allow.extend(publish.allow.iter().filter_map(Pattern::widest));
        all.publish.deny.extend(publish.deny.iter().filter_map(Pattern::widest));
        all.subscribe.allow.extend(subscribe.allow.iter().filter_map(Pattern::widest));
        all.subscribe.deny.extend(subscribe.deny.iter().filter_map(Pattern::widest));
        all
    }

    /// True if nothing was added.
    pub fn is_empty(&self) -> bool {
        self.texts().iter().all(Vec::is_empty)
    }

    fn texts(&self) -> [Vec<String>; 4] {
        let Self { publish, subscribe } = self;
        [
            publish.allow.iter().map(Pattern::text).collect(),
            publish.deny.iter().map(Pattern::text).collect(),
            subscribe.allow.iter().map(Pattern::text).collect(),
            subscribe.deny.iter().map(Pattern::text).collect(),
        ]
    }
}

/// The same texts mean the same.
impl PartialEq for PermissionTemplates {
    fn eq(&self, other: &Self) -> bool {
        self.texts() == other.texts()
    }
}
