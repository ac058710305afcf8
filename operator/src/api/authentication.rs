//! `spec.authentication`: how scrapers authenticate.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How scrapers authenticate.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("'BasicAuth' in self.methods || !(has(self.basicAuth.passwordSecretRef) || has(self.basicAuth.usersSecretRef))")
        .message("basicAuth.passwordSecretRef and basicAuth.usersSecretRef need BasicAuth in methods"),
)]
pub struct AuthenticationSpec {
    /// The authentication methods. A scraper must pass every method in the list. BasicAuth is a user name and a password;
    /// ClientCertificate is a client certificate signed by this resource's CA (mutual TLS). The operator generates and
    /// rotates both and publishes them in the Secret <name>-scrape. Immutable.
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(method, method in oldSelf) && oldSelf.all(method, method in self)")
            .message("methods is immutable, because scrapers that still use the old configuration would be refused; create a second SecureExporter instead"),
    )]
    #[schemars(length(min = 1, max = 2))]
    #[serde(default = "default_methods")]
    pub methods: Vec<AuthenticationMethod>,

    /// User name and password. By default the operator generates a password of 256 random bits and stores it only in
    /// Secrets.
    #[serde(default)]
    pub basic_auth: BasicAuthSpec,
}

impl Default for AuthenticationSpec {
    fn default() -> Self {
        Self {
            methods: default_methods(),
            basic_auth: BasicAuthSpec::default(),
        }
    }
}

fn default_methods() -> Vec<AuthenticationMethod> {
    vec![AuthenticationMethod::BasicAuth]
}

/// An authentication method.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationMethod {
    /// A user name and a password.
    BasicAuth,
    /// A client certificate (mutual TLS).
    ClientCertificate,
}

/// Basic authentication.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.passwordSecretRef) || !has(self.bcryptCost) || self.bcryptCost >= 10")
    .message("bcryptCost must be at least 10 with passwordSecretRef, because the hash of a password that a person chose can be guessed"))]
pub struct BasicAuthSpec {
    /// User name, and common name of the client certificate: letters, digits, '.', '_' and '-'. Immutable.
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Za-z0-9._-]+$')")
            .message("username may only contain letters, digits, '.', '_' and '-'"),
        validation = Rule::new("self == oldSelf")
            .message("username is immutable, because scrapers that still use the old name would be refused; create a second SecureExporter instead"),
    )]
    #[schemars(length(min = 1, max = 64))]
    #[serde(default = "default_username")]
    pub username: String,

    /// Cost of the bcrypt hash, as a power of two: each step doubles the CPU time of a first login. Default: 6 for a
    /// generated password, because 256 random bits cannot be guessed even if the hash is fast, and 12 for a user-supplied one,
    /// for which it must be at least 10. If the default changes in a later version, the next password is hashed with it.
    #[schemars(range(min = 4, max = 14))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bcrypt_cost: Option<i32>,

    /// How often the password is rotated, in hours, minutes and seconds, for example 2160h for 90 days; or Never, for users
    /// who copy the password by hand. The old and the new password overlap by spec.rotation.clientOverlap. Has no effect
    /// when passwordSecretRef is set.
    #[x_kube(validation = Rule::new("self.matches('^(Never|([0-9]{1,6}(h|m|s)){1,3})$')")
        .message("rotationInterval must be Never or a duration in hours, minutes and seconds: use 2160h for 90 days"))]
    #[schemars(length(max = 24))]
    #[serde(default = "default_rotation_interval")]
    pub rotation_interval: String,

    /// A Secret with a user-supplied password, which replaces the generated one. A change of the Secret starts a rotation,
    /// in which the old and the new password overlap as generated ones do. While the Secret is missing or unusable, the last
    /// good password stays in use and the condition CredentialsAccepted says why; if there was never a good one, nothing is
    /// published. rotationInterval and the annotation secureexporter.dev/rotate: password have no effect: change the Secret
    /// instead. Before you set secureexporter.dev/distrust: all, change the Secret: that annotation takes the password that
    /// the Secret contains and drops every other one at once. If the Secret contains no other one, the condition
    /// RequestsAccepted is False until it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<PasswordSecretRef>,

    /// A Secret with additional users, who may read the metrics besides the generated user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_secret_ref: Option<UsersSecretRef>,
}

/// A reference to a user-supplied password.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSecretRef {
    /// Name of a Secret in the namespace of this resource, of type Opaque or kubernetes.io/basic-auth. The operator
    /// reads it at least once a minute and never changes it.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Key of the password in the Secret. The password must be UTF-8 text of at least 12 characters and at most 72 bytes,
    /// without control characters. A trailing line break is ignored.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default = "default_password_key")]
    pub key: String,
}

/// A reference to additional users.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UsersSecretRef {
    /// Name of a Secret in the namespace of this resource, of type Opaque. Each key is a user name, and its value is one or
    /// more bcrypt hashes, one per line: the part after the colon in the output of `htpasswd -nbBC 12 USER PASSWORD`. The
    /// operator reads the Secret at least once a minute and never changes it. A change takes effect without overlap, as soon as
    /// the kubelets have updated the exporters' files: a removed user is refused from then on. While the Secret is missing or
    /// any part of it is unusable, the previous users stay in use and the condition CredentialsAccepted says why.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

impl Default for BasicAuthSpec {
    fn default() -> Self {
        Self {
            username: default_username(),
            bcrypt_cost: None,
            rotation_interval: default_rotation_interval(),
            password_secret_ref: None,
            users_secret_ref: None,
        }
    }
}

fn default_username() -> String {
    "prometheus".to_owned()
}

fn default_password_key() -> String {
    "password".to_owned()
}

fn default_rotation_interval() -> String {
    "2160h".to_owned()
}
