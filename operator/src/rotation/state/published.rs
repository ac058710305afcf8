//! The published objects of a state, which exporters and scrapers read.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Resource;

use crate::{names::published_generation, render::Children};

/// The published objects, each if it exists and belongs to this resource.
///
/// It has no `Debug`, because it contains keys and passwords.
#[derive(Clone, Copy)]
pub struct Published<'a> {
    /// The Secret that the exporters mount.
    pub server: Option<&'a Secret>,
    /// The Secret that Prometheus mounts.
    pub scrape: Option<&'a Secret>,
    /// The ConfigMap with the public CA bundle.
    pub bundle: Option<&'a ConfigMap>,
    /// Whether a foreign object has the name of the ConfigMap: then nobody reads the CA bundle from it, and nothing waits for
    /// it.
    pub bundle_is_foreign: bool,
}

impl Published<'_> {
    /// Returns the highest generation of the state in these objects.
    pub fn generation(&self) -> u64 {
        let objects = [
            self.server.map(Resource::meta),
            self.scrape.map(Resource::meta),
            self.bundle.map(Resource::meta),
        ];
        let generations = objects.into_iter().flatten().map(published_generation);
        generations.max().unwrap_or_default()
    }

    /// Whether everything was read back exactly as in `children`.
    pub fn shows(&self, children: &Children) -> bool {
        let shows = |present: Option<&Secret>, rendered: &Secret| {
            present.and_then(|it| it.data.as_ref()) == rendered.data.as_ref()
        };
        let bundle = self.bundle.and_then(|it| it.data.as_ref());
        shows(self.server, &children.server_secret)
            && shows(self.scrape, &children.scrape_secret)
            && (self.bundle_is_foreign || bundle == children.ca_config_map.data.as_ref())
    }
}
