//! The system's message bus (D-Bus), for systemd and related services.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::blocking::Connection;
use zbus::blocking::connection::Builder;
use zbus::zvariant::{DynamicType, OwnedValue, Type};

use super::deadline::Deadline;

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the bus, opened at the first call and kept until it breaks.
#[derive(Debug, Default)]
pub struct SystemBus {
    /// The address of the bus, if it is not the system's default.
    address: Option<String>,
    connection: Option<Connection>,
    /// How long a call waits for its reply.
    patience: Duration,
    deadline: Option<Deadline>,
}

/// The target of a call: a service, one of its objects, and an interface of the object.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// The service's name on the bus.
    pub service: &'static str,
    /// The object's path.
    pub object: &'a str,
    /// The interface.
    pub interface: &'static str,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// There is no connection.
    #[error("cannot connect to the system's message bus: {0}")]
    Connect(#[source] Box<zbus::Error>),
    /// The service did not answer as expected.
    #[error("{service} does not answer {member}: {source}")]
    Call {
        /// The service.
        service: &'static str,
        /// The method or property.
        member: String,
        /// The underlying error.
        source: Box<zbus::Error>,
    },
}

impl SystemBus {
    /// Creates a client of a bus at another address.
    #[cfg(test)]
    pub fn at(address: impl Into<String>) -> Self {
        Self {
            address: Some(address.into()),
            ..Self::default()
        }
    }

    /// Makes no call after the deadline, and waits for each reply for half of the remaining time at most.
    pub fn until(&mut self, deadline: Deadline) {
        self.deadline = Some(deadline);
        if deadline.left() < self.patience {
            self.connection = None;
        }
    }

    /// Calls a method and waits for its reply.
    ///
    /// # Errors
    ///
    /// There is no connection, or the method fails. The next call connects again if necessary.
    pub fn call<Answer>(
        &mut self,
        peer: Peer<'_>,
        member: &str,
        arguments: &(impl Serialize + DynamicType),
    ) -> Result<Answer, BusError>
    where
        Answer: DeserializeOwned + Type,
    {
        if self.deadline.is_some_and(Deadline::has_passed) {
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            return Err(BusError::Connect(Box::new(late.into())));
        }
        let connection = self.connection()?;
        let answer = connection
            .call_method(
                Some(peer.service),
                peer.object,
                Some(peer.interface),
                member,
                arguments,
            )
            .and_then(|message| message.body().deserialize());
        answer.map_err(|source| {
            if !matches!(source, zbus::Error::MethodError(..)) {
                self.connection = None;
            }
            BusError::Call {
                service: peer.service,
                member: member.to_owned(),
                source: Box::new(source),
            }
        })
    }

    /// Returns a property of an object; `None` if the object has disappeared or does not have the property.
    ///
    /// # Errors
    ///
    /// See [`SystemBus::call`].
    pub fn property<Property>(
        &mut self,
        peer: Peer<'_>,
        name: &str,
    ) -> Result<Option<Property>, BusError>
    where
        Property: TryFrom<OwnedValue>,
    {
        let properties = Peer {
            interface: "org.freedesktop.DBus.Properties",
            ..peer
        };
        match self.call::<OwnedValue>(properties, "Get", &(peer.interface, name)) {
            Ok(value) => Ok(Property::try_from(value).ok()),
            Err(BusError::Call { source, .. })
                if matches!(*source, zbus::Error::MethodError(..)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn connection(&mut self) -> Result<Connection, BusError> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let builder = match &self.address {
            Some(address) => Builder::address(address.as_str()),
            None => Builder::system(),
        };
        let left = self.deadline.map_or(PATIENCE, Deadline::left);
        self.patience = (left / 2).min(PATIENCE);
        let patience = self.patience;
        let connection = builder.and_then(|builder| builder.method_timeout(patience).build());
        let connection = connection.map_err(|error| BusError::Connect(Box::new(error)))?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_that_is_not_there_is_an_error_that_says_so() {
        let mut bus = SystemBus::at("unix:path=/nonexistent/bus");
        let peer = Peer {
            service: "org.example",
            object: "/",
            interface: "org.example",
        };
        let error = bus
            .property::<String>(peer, "Name")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot connect to the system's message bus: "),
            "{error}"
        );
    }
}
