//! The Secrets of the user's own in the model: somebody changes, breaks and deletes them at any time.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use secure_exporter_operator::{
    api::PasswordSecretRef,
    spec::ValidSpec,
    supplied::{
        credentials::{SuppliedCredentials, UserSecret},
        reference::ReferencePolicy,
    },
};

use super::World;

pub const USERS: &str = "people";
/// A user who is in every good version of the Secret.
pub const RESIDENT: &str = "resident";
const HASH: &str = "$2y$10$MXjBwpmKxIYjyCOS7Gq6U.DbStd7Nn5jKEnGYfkDbXTBe2uCJTK8i";

pub struct OwnSecrets {
    password: Option<Secret>,
    users: Option<Secret>,
    changes: u32,
    guests: Vec<String>,
}

impl OwnSecrets {
    pub fn new() -> Self {
        let mut secrets = Self {
            password: None,
            users: None,
            changes: 0,
            guests: Vec::new(),
        };
        secrets.write_users();
        secrets
    }

    fn change_password(&mut self, what: u8) {
        self.changes += 1;
        let text = format!("password of my own {}\n", self.changes);
        self.password = match what {
            0 | 1 => Some(secret([("password", text.as_str())])),
            2 => Some(secret([("password", "short")])),
            _ => None,
        };
    }

    pub fn change_users(&mut self, what: u8) {
        self.changes += 1;
        match what % 4 {
            0 => self.guests.push(format!("guest-{}", self.changes)),
            1 => drop(self.guests.pop()),
            2 => self.users = Some(secret([("guest", "in plain text")])),
            _ => self.users = None,
        }
        if what % 4 < 2 {
            self.write_users();
        }
    }

    fn write_users(&mut self) {
        let guests = self.guests.iter().map(String::as_str);
        let all = guests.chain([RESIDENT]).map(|name| (name, HASH));
        self.users = Some(secret(all));
    }
}

impl World {
    pub(super) fn change_password(&mut self, what: u8) {
        let named = &mut self.spec.password_secret;
        match what % 5 {
            4 if named.is_some() => *named = None,
            4 if self.spec.methods.ask_password() => {
                *named = Some(PasswordSecretRef {
                    name: "mine".into(),
                    key: "password".into(),
                });
            }
            what => self.own.change_password(what),
        }
    }

    /// What the operator reads of them now.
    pub(super) fn supplied_credentials(&self, spec: &ValidSpec) -> SuppliedCredentials {
        let (password, users) = (self.own.password.as_ref(), self.own.users.as_ref());
        SuppliedCredentials::check(spec, ReferencePolicy::AnyFitting, password, users)
    }

    /// Whether what can be used of them is used.
    pub(super) fn follows_own_secrets(&self) -> bool {
        let own = self.supplied_credentials(&self.spec);
        let Some(state) = self.store.state() else {
            return false;
        };
        let active = state.passwords.get(&state.active_password);
        let password = match own.password {
            UserSecret::Usable(text) => active.is_some_and(|it| it.password == Some(text)),
            UserSecret::NotConfigured => active.is_none_or(|it| !it.own),
            UserSecret::Invalid(_) | UserSecret::Unreadable => true,
        };
        let users = match own.users {
            UserSecret::Usable(users) => users == state.users,
            UserSecret::NotConfigured => state.users.is_empty(),
            UserSecret::Invalid(_) | UserSecret::Unreadable => true,
        };
        password && users
    }
}

fn secret<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Secret {
    let entries = entries.into_iter();
    let data: BTreeMap<String, ByteString> = entries
        .map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())))
        .collect();
    Secret {
        data: Some(data),
        ..Secret::default()
    }
}
