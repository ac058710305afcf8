//! What a web configuration file says.

use std::collections::BTreeMap;

use crate::{
    http::{HttpServerConfig, RateLimit},
    tls::TlsServerConfig,
    users::UserHashes,
};

/// One web configuration file. The default is the empty file: plain HTTP, open to everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebConfig {
    /// TLS of the listener; `None` serves plain HTTP.
    pub tls_server_config: Option<TlsServerConfig>,
    /// HTTP/2 and response headers.
    pub http_server_config: Option<HttpServerConfig>,
    /// Users by name with their bcrypt hashes; empty means that no authentication is asked for.
    pub basic_auth_users: BTreeMap<String, UserHashes>,
    /// A token bucket over all requests of the listener.
    pub rate_limit: Option<RateLimit>,
}
