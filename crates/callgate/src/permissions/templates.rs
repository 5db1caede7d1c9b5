//! Subjects with `{{ … }}` in the permissions of one entry of an operator's own file: compiled when
//! the file loads, filled at each login.

use super::Permissions;
use crate::{
    subject::{SubjectPattern, SubscribePattern},
    template::{ParseContext, Pattern, PatternRules, check::self_asserted_warning},
};

/// One of the four lists of permissions.
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

/// Why a text is not a valid subject template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

/// The subjects of one entry that contain templates. Its literal subjects are plain
/// [`Permissions`].
#[derive(Debug, Default)]
pub struct PermissionTemplates {
    variables: &'static [&'static str],
    pub(crate) publish: PatternRules<SubjectPattern>,
    pub(crate) subscribe: PatternRules<SubscribePattern>,
}

impl PermissionTemplates {
    /// No templates yet. `variables` are those that the identities of the authenticator bring
    /// ([`Identity::variables`](crate::authn::Identity::variables)); the default has none.
    pub fn with_variables(variables: &'static [&'static str]) -> Self {
        Self { variables, ..Self::default() }
    }

    /// Compiles `text` and adds it to `list`. Returns warnings about unverified client fields.
    ///
    /// # Errors
    /// Describes what is wrong with the subject or with one of its expressions.
    pub fn add(&mut self, list: PermissionList, text: &str) -> Result<Vec<String>, TemplateError> {
        let Self { variables, publish, subscribe } = self;
        let mut context = ParseContext::new(variables);
        let added = match list {
            PermissionList::PublishAllow => add_to(&mut publish.allow, text, &mut context),
            PermissionList::PublishDeny => add_to(&mut publish.deny, text, &mut context),
            PermissionList::SubscribeAllow => add_to(&mut subscribe.allow, text, &mut context),
            PermissionList::SubscribeDeny => add_to(&mut subscribe.deny, text, &mut context),
        };
        added.map_err(TemplateError)?;
        Ok(context.self_asserted.into_iter().map(self_asserted_warning).collect())
    }

    /// `plain`, extended by the widest form of each template.
    pub(super) fn widened(&self, plain: &Permissions) -> Permissions {
        let Self { publish, subscribe, .. } = self;
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
        let Self { publish, subscribe, .. } = self;
        [
            publish.allow.iter().map(Pattern::text).collect(),
            publish.deny.iter().map(Pattern::text).collect(),
            subscribe.allow.iter().map(Pattern::text).collect(),
            subscribe.deny.iter().map(Pattern::text).collect(),
        ]
    }
}

fn add_to<T>(
    list: &mut Vec<Pattern<T>>,
    text: &str,
    context: &mut ParseContext<'_>,
) -> Result<(), String>
where
    T: std::str::FromStr<Err = crate::subject::SubjectError> + Clone + std::fmt::Display,
{
    list.push(Pattern::parse(text, context)?);
    Ok(())
}

/// Equal if the texts are equal.
impl PartialEq for PermissionTemplates {
    fn eq(&self, other: &Self) -> bool {
        self.texts() == other.texts()
    }
}
