//! Authorization: users with static tokens, and the rules of ClusterRoles.

use std::collections::HashMap;

use axum::http::{Method, StatusCode, Uri};
use serde_json::Value;

use crate::kube::{ADMIN, USERS};

/// The rules in force.
#[derive(Debug, Default)]
pub(super) struct Rules {
    roles: HashMap<String, Value>,
    granted: HashMap<String, Vec<Value>>,
}

impl Rules {
    pub(super) fn add_role(&mut self, role: &Value) {
        let name = role["metadata"]["name"].as_str().expect("a name");
        self.roles.insert(name.to_owned(), role["rules"].clone());
    }

    pub(super) fn bind(&mut self, binding: &Value) {
        let role = &self.roles[binding["roleRef"]["name"].as_str().expect("a role")];
        let rules = role.as_array().expect("rules").clone();
        for subject in binding["subjects"].as_array().expect("subjects") {
            let user = subject["name"].as_str().expect("a name").to_owned();
            self.granted.entry(user).or_default().extend(rules.clone());
        }
    }

    /// Whether the holder of this `Authorization` may make this request.
    pub(super) fn check(
        &self,
        authorization: Option<&str>,
        method: &Method,
        uri: &Uri,
    ) -> Result<(), (StatusCode, String)> {
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        let user = token.and_then(|token| token.strip_suffix("-token"));
        let user = user.filter(|user| USERS.contains(user));
        let user = user.ok_or((StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()))?;
        let granted = self.granted.get(user).map(Vec::as_slice).unwrap_or_default();
        match user == ADMIN || granted.iter().any(|rule| allows(rule, method, uri)) {
            true => Ok(()),
            false => Err((StatusCode::FORBIDDEN, format!("User \"{user}\" cannot do that"))),
        }
    }
}

fn allows(rule: &Value, method: &Method, uri: &Uri) -> bool {
    let has = |list: &str, item: &str| {
        rule[list].as_array().is_some_and(|list| list.iter().any(|one| one == item || one == "*"))
    };
    if !uri.path().starts_with("/api") {
        return has("nonResourceURLs", uri.path()) && has("verbs", "get");
    }
    let watches = uri.query().is_some_and(|query| query.contains("watch=true"));
    let verb = match *method {
        Method::GET if watches => "watch",
        Method::GET => "list",
        Method::POST => "create",
        _ => "other",
    };
    let (group, resource) = match uri.path().split('/').nth(2) {
        Some("authentication.k8s.io") => ("authentication.k8s.io", "tokenreviews"),
        _ => ("", "serviceaccounts"),
    };
    has("apiGroups", group) && has("resources", resource) && has("verbs", verb)
}
