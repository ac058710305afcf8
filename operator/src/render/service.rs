//! The headless Service of the exporter's pods, for DNS names and for discovery by endpoints.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::{
    names::{Owner, PORT_NAME},
    spec::ValidSpec,
};

pub(crate) fn service(spec: &ValidSpec, owner: &Owner) -> Service {
    Service {
        metadata: owner.child(owner.workload()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(owner.selector()),
            ports: Some(vec![ServicePort {
                name: Some(PORT_NAME.to_owned()),
                port: i32::from(spec.port),
                target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
