//! `spec.authentication`: who may read the metrics.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may read the metrics.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("'BasicAuth' in self.methods || !(has(self.basicAuth.passwordSecretRef) || has(self.basicAuth.usersSecretRef))")
        .message("basicAuth.passwordSecretRef and usersSecretRef need BasicAuth in methods"),
)]
pub struct AuthenticationSpec {
    /// What a scraper must show; all that is listed is required. BasicAuth is a user name and a password,
    /// ClientCertificate a certificate of the resource's own authority (mutual TLS). Both are generated, rotated and
    /// published in the Secret <name>-scrape. Immutable.
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(method, method in oldSelf) && oldSelf.all(method, method in self)")
            .message("methods is immutable: scrapers with the configuration from before would be refused. Create a second SecureExporter instead"),
    )]
    #[schemars(length(min = 1, max = 2))]
    #[serde(default = "default_methods")]
    pub methods: Vec<AuthenticationMethod>,

    /// User name and password. The password is generated, 256 random bits, and never leaves the Secrets; or it is one of
    /// your own.
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

/// Something that a scraper shows.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationMethod {
    /// A user name and a password.
    BasicAuth,
    /// A client certificate.
    ClientCertificate,
}

/// Basic authentication.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuthSpec {
    /// Name of the user, and common name of the client certificate: letters, digits, '.', '_' and '-'. Immutable.
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Za-z0-9._-]+$')")
            .message("username may only hold letters, digits, '.', '_' and '-': basic authentication ends the name at a colon"),
        validation = Rule::new("self == oldSelf")
            .message("username is immutable: scrapers that still use the old name would be refused. Create a second SecureExporter instead"),
    )]
    #[schemars(length(min = 1, max = 64))]
    #[serde(default = "default_username")]
    pub username: String,

    /// Cost of the bcrypt hash, a power of two: each step doubles the work of a first login. The password is random, so
    /// a low cost loses no security.
    #[schemars(range(min = 4, max = 14))]
    #[serde(default = "default_bcrypt_cost")]
    pub bcrypt_cost: i32,

    /// How often the password is followed by a new one: 2160h, or Never, for people who copy it by hand. Old and new
    /// overlap by spec.rotation.clientOverlap. It says nothing of a password of your own.
    #[schemars(
        length(max = 24),
        regex(pattern = r"^(Never|([0-9]{1,6}(h|m|s)){1,3})$")
    )]
    #[serde(default = "default_rotation_interval")]
    pub rotation_interval: String,

    /// A password of your own instead of a generated one. Whoever changes the Secret begins a rotation: old and new overlap
    /// as generated ones do. While the Secret is missing or cannot be used, the last good password stays, and the condition
    /// CredentialsAccepted says why; without one nothing is published yet. rotationInterval does nothing then, nor does the
    /// annotation secureexporter.dev/rotate: password: change the Secret. secureexporter.dev/distrust: all takes what the
    /// Secret holds at that moment, and drops every other password at once: change the Secret first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<PasswordSecretRef>,

    /// Further users, who may read the metrics besides the one whose password is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_secret_ref: Option<UsersSecretRef>,
}

/// Where a password of somebody's own is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSecretRef {
    /// Name of a Secret in the namespace of this resource. It is read, at least once a minute, and never written.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Key of the password: 12 characters to 72 bytes of text, without control characters. A line break at its end does not
    /// count.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default = "default_password_key")]
    pub key: String,
}

/// Where further users are.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UsersSecretRef {
    /// Name of a Secret in the namespace of this resource, each key of which is the name of a user, and each value one or
    /// more bcrypt hashes, one a line, as they follow the colon of `htpasswd -nbBC 12 USER PASSWORD`. It is read, at least
    /// once a minute, and never written. A change works as soon as the kubelets bring it, without overlap: who is removed is
    /// refused from then on. While it is missing or any part of it cannot be used, the users from before stay, and the
    /// condition CredentialsAccepted says why.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

impl Default for BasicAuthSpec {
    fn default() -> Self {
        Self {
            username: default_username(),
            bcrypt_cost: default_bcrypt_cost(),
            rotation_interval: default_rotation_interval(),
            password_secret_ref: None,
            users_secret_ref: None,
        }
    }
}

fn default_username() -> String {
    "prometheus".to_owned()
}

fn default_bcrypt_cost() -> i32 {
    10
}

fn default_password_key() -> String {
    "password".to_owned()
}

fn default_rotation_interval() -> String {
    "2160h".to_owned()
}
