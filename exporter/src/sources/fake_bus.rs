//! A message bus for tests, which accepts one client and answers for the services itself.
#![allow(clippy::unwrap_used)] // clippy.toml exempts test functions, not what they share

use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use zbus::connection::Builder;

use super::SystemBus;

/// A bus that exists until this is dropped.
#[derive(Debug)]
pub struct FakeBus {
    directory: TempDir,
    _runtime: Runtime,
}

struct Greeting;

#[zbus::interface(name = "org.freedesktop.DBus")]
impl Greeting {
    fn hello(&self) -> &'static str {
        ":1.1"
    }
}

impl FakeBus {
    /// Creates a bus with the objects that `serve` adds.
    pub fn new(
        serve: impl FnOnce(Builder<'static>) -> zbus::Result<Builder<'static>> + Send + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bus");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = {
            let _guard = runtime.enter();
            UnixListener::bind(&path).unwrap()
        };
        runtime.spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let builder = Builder::unix_stream(stream)
                .server(zbus::Guid::generate())
                .unwrap()
                .p2p()
                .serve_at("/org/freedesktop/DBus", Greeting)
                .unwrap();
            let _connection = serve(builder).unwrap().build().await.unwrap();
            std::future::pending::<()>().await
        });
        Self {
            directory,
            _runtime: runtime,
        }
    }

    /// Connects a client to this bus.
    pub fn client(&self) -> SystemBus {
        let path = self.directory.path().join("bus");
        SystemBus::at(format!("unix:path={}", path.display()))
    }
}
