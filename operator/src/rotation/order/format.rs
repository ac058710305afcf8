//! The format of an order in the state's Secret.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};

use crate::rotation::{
    order::Order,
    state::format::{StateError, damaged, text},
};
use secure_exporter_pki::{SigningRequest, secret_text::SecretText};

impl Order {
    /// Returns the order's part of the Secret's data.
    pub fn to_data(&self) -> BTreeMap<String, ByteString> {
        let entry = Entry {
            parameters: self.parameters.clone(),
            made: self.made,
            attempt: self.attempt,
            refused: self.refused,
        };
        // Plain values and times can always be serialized as JSON.
        let entry = serde_json::to_string_pretty(&entry).unwrap_or_default();
        let parts = [
            (INDEX_KEY, format!("{entry}\n")),
            (REQUEST_KEY, self.signing.request_pem.clone()),
            (KEY_KEY, self.signing.key_pem.expose().to_owned()),
        ];
        parts
            .into_iter()
            .map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())))
            .collect()
    }

    /// Whether the Secret's data contains nothing but an order, as before the first certificate of another issuer.
    pub fn is_alone_in(data: &BTreeMap<String, ByteString>) -> bool {
        let parts = [INDEX_KEY, REQUEST_KEY, KEY_KEY];
        !data.is_empty() && data.keys().all(|key| parts.contains(&key.as_str()))
    }

    /// Parses the order from the Secret's data; `None` if there is none.
    ///
    /// # Errors
    /// A part is missing or damaged.
    pub fn from_data(data: &BTreeMap<String, ByteString>) -> Result<Option<Self>, StateError> {
        if !data.contains_key(INDEX_KEY) {
            return Ok(None);
        }
        let entry: Entry = serde_json::from_str(text(data, INDEX_KEY)?)
            .map_err(|error| damaged(INDEX_KEY, error.to_string()))?;
        let request_pem = text(data, REQUEST_KEY)?.to_owned();
        let key_pem = SecretText::new(text(data, KEY_KEY)?.to_owned());
        let signing = SigningRequest {
            request_pem,
            key_pem,
        };
        signing
            .check()
            .map_err(|error| damaged(REQUEST_KEY, error.to_string()))?;
        Ok(Some(Self {
            signing,
            parameters: entry.parameters,
            made: entry.made,
            attempt: entry.attempt,
            refused: entry.refused,
        }))
    }
}

const INDEX_KEY: &str = "request.json";
const REQUEST_KEY: &str = "request.csr";
const KEY_KEY: &str = "request.key";

/// `request.json`: everything that is not secret.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    parameters: String,
    made: Timestamp,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use secure_exporter_pki::{KeyType, LeafParameters, Subject, request_leaf};

    fn request() -> Order {
        let signing = request_leaf(&LeafParameters {
            key_type: KeyType::EcdsaP256,
            subject: Subject {
                common_name: "nodes".into(),
                organization: None,
                organizational_unit: None,
                country: None,
                province: None,
                locality: None,
            },
            dns_names: vec!["nodes.monitoring.svc".into()],
            ip_addresses: Vec::new(),
            duration: SignedDuration::from_hours(1),
        });
        Order {
            signing: signing.unwrap(),
            parameters: "a".into(),
            made: "2027-01-01T00:00:00Z".parse().unwrap(),
            attempt: 3,
            refused: Some("2027-01-01T00:00:09Z".parse().unwrap()),
        }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        for refused in [None, request().refused] {
            let request = Order {
                refused,
                ..request()
            };
            assert_eq!(Order::from_data(&request.to_data()), Ok(Some(request)));
        }
        assert_eq!(Order::from_data(&BTreeMap::new()), Ok(None));
    }

    #[test]
    fn an_error_names_the_missing_or_mismatched_key_and_not_its_content() {
        let mut data = request().to_data();
        data.remove(KEY_KEY);
        let missing = StateError::Missing {
            key: KEY_KEY.to_owned(),
        };
        assert_eq!(Order::from_data(&data), Err(missing));
        let other = request();
        data.extend(
            other
                .to_data()
                .into_iter()
                .filter(|(key, _)| key == KEY_KEY),
        );
        let problem = Order::from_data(&data).unwrap_err().to_string();
        assert!(problem.contains(REQUEST_KEY), "{problem}");
        let secret = other.signing.key_pem.expose().lines().nth(1).unwrap();
        assert!(!problem.contains(secret));
    }
}
