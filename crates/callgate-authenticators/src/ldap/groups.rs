//! Which groups a user is in.

use std::{collections::HashSet, fmt::Write};

use ldap3::{ldap_escape, parse_filter};

use super::{
    config::{GroupRules, GroupsFrom, Nested},
    entry::{MEMBER_OF, OBJECT_SID, PRIMARY_GROUP_ID, UserEntry, texts},
};
use crate::{
    backend::QueryError,
    ldap_client::{Dn, Scope, Searcher, Values},
};

/// More groups than this are an error, not a shorter list.
const MAX_GROUPS: usize = 1000;

/// Active Directory's rule for members of members, at any depth.
const IN_CHAIN: &str = "1.2.840.113556.1.4.1941";

/// The names of the groups that count, and how many others were ignored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) names: Vec<String>,
    pub(super) ignored: usize,
}

/// A group that the user is in.
struct Group {
    /// As the directory writes it.
    text: String,
    dn: Dn,
    /// The values of the attribute that names groups, if the group's entry was read.
    names: Vec<String>,
}

impl GroupRules {
    /// Whether finding the groups takes searches.
    pub(super) fn need_searches(&self) -> bool {
        self.from != GroupsFrom::None
            && (self.from == GroupsFrom::Search || self.primary || self.nested != Nested::No)
    }

    /// The groups of a user. Without a searcher, those that the entry lists.
    pub(super) async fn of(
        &self,
        user: &UserEntry,
        searcher: Option<&mut Searcher<'_>>,
    ) -> Result<Groups, QueryError> {
        let mut all = match self.from {
            GroupsFrom::None => return Ok(Groups::default()),
            GroupsFrom::MemberOf => self.listed(user)?,
            GroupsFrom::Search => Vec::new(),
        };
        if let Some(searcher) = searcher {
            self.search(user, &mut all, searcher).await?;
        }
        let mut seen = HashSet::new();
        all.retain(|group| seen.insert(group.dn.clone()));
        let names: Vec<_> = all.iter().filter_map(|group| self.name(group)).collect();
        Ok(Groups { ignored: all.len() - names.len(), names })
    }

    /// The values of `memberOf`.
    fn listed(&self, user: &UserEntry) -> Result<Vec<Group>, QueryError> {
        let values = texts(&user.entry, MEMBER_OF)?;
        check_number(values.len())?;
        let groups = values.into_iter().filter_map(|text| Group::new(text, Vec::new()));
        Ok(groups.collect())
    }

    async fn search(
        &self,
        user: &UserEntry,
        all: &mut Vec<Group>,
        searcher: &mut Searcher<'_>,
    ) -> Result<(), QueryError> {
        if self.from == GroupsFrom::Search && self.nested != Nested::InChain {
            let filter = self.filter.text(Values { user: &user.user, dn: &user.entry.dn });
            all.extend(self.find(&filter, searcher).await?);
        }
        let primary = match primary_group_filter(user).filter(|_| self.primary) {
            Some(filter) => self.find(&filter, searcher).await?,
            None => Vec::new(),
        };
        match self.nested {
            Nested::No => all.extend(primary),
            Nested::InChain => {
                // The primary group does not list its members.
                let members = primary.iter().map(|group| group.text.as_str());
                let members = [user.entry.dn.as_str()].into_iter().chain(members);
                let filter =
                    any_of(members, |dn| format!("(member:{IN_CHAIN}:={})", ldap_escape(dn)));
                all.extend(self.find(&filter, searcher).await?);
                all.extend(primary);
            }
            Nested::Levels(levels) => {
                all.extend(primary);
                self.search_levels(levels, user, all, searcher).await?;
            }
        }
        check_number(all.len())
    }

    /// Adds the groups of the groups, one level after another.
    async fn search_levels(
        &self,
        levels: u8,
        user: &UserEntry,
        all: &mut Vec<Group>,
        searcher: &mut Searcher<'_>,
    ) -> Result<(), QueryError> {
        let mut seen: HashSet<Dn> = HashSet::new();
        let mut level = std::mem::take(all);
        for _ in 0..levels {
            level.retain(|group| seen.insert(group.dn.clone()));
            check_number(seen.len())?;
            if level.is_empty() {
                return Ok(());
            }
            let members = level.iter().map(|group| group.text.as_str());
            let of = |dn: &str| self.filter.text(Values { user: &user.user, dn });
            let next = self.find(&any_of(members, of), searcher).await?;
            all.append(&mut level);
            level = next;
        }
        all.append(&mut level);
        Ok(())
    }

    async fn find(
        &self,
        filter: &str,
        searcher: &mut Searcher<'_>,
    ) -> Result<Vec<Group>, QueryError> {
        let malformed = |()| QueryError::unusable("the filter for groups cannot be built");
        let filter = parse_filter(filter).map_err(malformed)?;
        // `1.1` requests no attributes (RFC 4511 section 4.5.1.8).
        let name = self.name.as_deref().unwrap_or("1.1");
        let limit = u16::try_from(MAX_GROUPS + 1).unwrap_or(u16::MAX);
        let found = searcher.search(&self.base.text, Scope::Sub, filter, &[name], limit).await?;
        check_number(found.len())?;
        let group = |entry| {
            let names = texts(&entry, name)?;
            Ok(Group::new(entry.dn, names))
        };
        found.into_iter().map(group).filter_map(Result::transpose).collect()
    }

    /// What the group is called; `None` if it does not count.
    fn name(&self, group: &Group) -> Option<String> {
        let is_below = group.dn.is_within(&self.base.dn) && group.dn != self.base.dn;
        let Some(attribute) = &self.name else { return is_below.then(|| group.text.clone()) };
        // Below another entry, a second group may have the same name.
        if !group.dn.is_child_of(&self.base.dn) {
            return None;
        }
        if group.dn.is_named_by(attribute) {
            return group.dn.own_value(attribute).map(str::to_owned);
        }
        match group.names.as_slice() {
            [name] => Some(name.clone()),
            _ => None,
        }
    }
}

impl Group {
    /// `None` if the DN is malformed: the group cannot be below any base.
    fn new(text: String, names: Vec<String>) -> Option<Self> {
        let dn: Dn = text.parse().ok().filter(|dn: &Dn| !dn.is_empty())?;
        Some(Self { text, dn, names })
    }
}

fn check_number(groups: usize) -> Result<(), QueryError> {
    match groups <= MAX_GROUPS {
        true => Ok(()),
        false => Err(QueryError::unusable(format!("the user is in more than {MAX_GROUPS} groups"))),
    }
}

/// A filter that matches if one of the filters of these members does.
fn any_of<'a>(members: impl Iterator<Item = &'a str>, filter: impl Fn(&str) -> String) -> String {
    format!("(|{})", members.map(filter).collect::<String>())
}

/// The filter for the primary group: the user's SID with the number of the group in place of its own.
fn primary_group_filter(user: &UserEntry) -> Option<String> {
    let sid = user.entry.values(OBJECT_SID).next()?;
    let group = user.entry.values(PRIMARY_GROUP_ID).next()?;
    let group: u32 = str::from_utf8(group).ok()?.parse().ok()?;
    let (domain, _) = sid.split_last_chunk::<4>()?;
    let mut filter = String::from("(objectSid=");
    for byte in domain.iter().chain(&group.to_le_bytes()) {
        let _ = write!(filter, "\\{byte:02x}");
    }
    Some(filter + ")")
}
