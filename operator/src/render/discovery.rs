//! Role and RoleBinding `<name>-discovery`: they let the listed scrapers discover the pods of this namespace, nothing else.

use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};

use crate::{names::Owner, spec::ValidScrape};

/// The RBAC objects that let scrapers discover the pods.
#[derive(Clone, Debug, PartialEq)]
pub struct Discovery {
    /// Allows to get, list and watch pods of this namespace.
    pub role: Role,
    /// Grants the role to the listed service accounts.
    pub role_binding: RoleBinding,
}

pub(crate) fn discovery(scrape: &ValidScrape, owner: &Owner) -> Option<Discovery> {
    if scrape.service_accounts.is_empty() {
        return None;
    }
    let texts = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    let role = Role {
        metadata: owner.child(owner.discovery()),
        rules: Some(vec![PolicyRule {
            api_groups: Some(texts(&[""])),
            resources: Some(texts(&["pods"])),
            verbs: texts(&["get", "list", "watch"]),
            ..PolicyRule::default()
        }]),
    };
    let subjects = scrape.service_accounts.iter().map(|account| Subject {
        kind: "ServiceAccount".to_owned(),
        namespace: Some(account.namespace.clone()),
        name: account.name.clone(),
        api_group: None,
    });
    let role_binding = RoleBinding {
        metadata: owner.child(owner.discovery()),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: owner.discovery(),
        },
        subjects: Some(subjects.collect()),
    };
    Some(Discovery { role, role_binding })
}
