//! The content of a web configuration file.

use std::collections::BTreeMap;

use crate::{
    http::{HttpServerConfig, RateLimit},
    tls::TlsServerConfig,
    users::UserHashes,
};

/// A web configuration file. The default is the empty file: plain HTTP without authentication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebConfig {
    /// TLS settings of the listener; `None` serves plain HTTP.
    pub tls_server_config: Option<TlsServerConfig>,
    /// HTTP/2 and response headers.
    pub http_server_config: Option<HttpServerConfig>,
    /// Users by name with their bcrypt hashes; empty means that no authentication is required.
    pub basic_auth_users: BTreeMap<String, UserHashes>,
    /// A token bucket over all requests of the listener.
    pub rate_limit: Option<RateLimit>,
}
