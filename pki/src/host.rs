//! The names for which a certificate is valid.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rcgen::SanType;
use rcgen::string::Ia5String;
use rustls::pki_types::ServerName;

use crate::error::{InspectError, IssueError};

/// A DNS name or an IP address by which clients reach a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A DNS name; in a certificate also one with a wildcard.
    Name(String),
    /// An IP address.
    Address(IpAddr),
}

/// A subject alternative name of a kind that something is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    /// The name of a server.
    Host(Host),
    /// An email address (`rfc822Name`).
    Email(String),
    /// A URI.
    Uri(String),
}

impl Host {
    pub(crate) fn subject_alternative_name(&self) -> Result<SanType, IssueError> {
        match self {
            Self::Name(name) => Ia5String::try_from(name.as_str())
                .map(SanType::DnsName)
                .map_err(|_| IssueError::NotAscii("DNS name", name.clone())),
            Self::Address(address) => Ok(SanType::IpAddress(*address)),
        }
    }
}

/// Parses the name or the address of one host, without wildcard, port or brackets.
impl FromStr for Host {
    type Err = InspectError;

    fn from_str(text: &str) -> Result<Self, InspectError> {
        let refused = || InspectError::BadServerName(text.to_owned());
        match ServerName::try_from(text) {
            Ok(ServerName::DnsName(name)) => Ok(Self::Name(name.as_ref().to_owned())),
            Ok(ServerName::IpAddress(_)) => text.parse().map(Self::Address).map_err(|_| refused()),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for AlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Email(text) | Self::Uri(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_name_or_one_address() {
        assert_eq!("web1".parse(), Ok(Host::Name("web1".into())));
        assert_eq!("::1".parse(), Ok(Host::Address("::1".parse().unwrap())));
        for text in [
            "",
            "*.example.org",
            "web1:9100",
            "https://web1",
            "[::1]",
            "a b",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }
}
