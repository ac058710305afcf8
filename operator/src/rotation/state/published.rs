//! What is published of a state: the objects that exporters and scrapers read.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Resource;

use crate::{names::published_generation, render::Children};

/// The published objects, each where it exists and is made from this resource.
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// What the exporters mount.
    pub server: Option<&'a Secret>,
    /// What Prometheus mounts.
    pub scrape: Option<&'a Secret>,
    /// The public CA bundle.
    pub bundle: Option<&'a ConfigMap>,
    /// Whether the bundle's name is taken by an object that is not made from this resource: then the bundle has no readers
    /// who would have to be waited for.
    pub bundle_is_foreign: bool,
}

impl Published<'_> {
    /// The highest generation of the state that anything here was rendered from.
    pub fn generation(&self) -> u64 {
        let objects = [
            self.server.map(Resource::meta),
            self.scrape.map(Resource::meta),
            self.bundle.map(Resource::meta),
        ];
        let generations = objects.into_iter().flatten().map(published_generation);
        generations.max().unwrap_or_default()
    }

    /// Whether everything stands there exactly as in `children`: it was read back, and not only sent.
    pub fn shows(&self, children: &Children) -> bool {
        let data = |secret: Option<&Secret>| secret.and_then(|it| it.data.clone());
        let bundle = self.bundle.and_then(|it| it.data.as_ref());
        data(self.server) == children.server_secret.data
            && data(self.scrape) == children.scrape_secret.data
            && (self.bundle_is_foreign || bundle == children.ca_config_map.data.as_ref())
    }
}
