//! A node without a kubelet, for the control plane without nodes: the DaemonSet controller and the scheduler treat it as a real
//! node, and the test does the work of its kubelet.
#![allow(
    clippy::indexing_slicing,
    reason = "a field that JSON lacks is null, and a test may end there"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{kubectl::Kubectl, operator::Stage, test_clusters, wait::wait_until};

/// The label by which only the pods of one test are scheduled to the node. All other exporters need a Linux node.
const LABEL: &str = "kubernetes.io/os";
/// The address that its pods report.
const ADDRESS: &str = "127.0.0.1";

/// How often the node says that it is alive. The cluster gives it up after about 40 s without that.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// A node of one namespace. It is removed when dropped.
pub struct PlayedNode {
    name: String,
    everywhere: Kubectl,
    is_over: Arc<AtomicBool>,
}

impl PlayedNode {
    /// Adds the node to the control plane without nodes.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn join(stage: &Stage) -> Result<Self> {
        let everywhere = test_clusters::control_plane()?.kubectl("");
        let name = format!("played-{}", stage.kubectl.namespace());
        everywhere.run(&["delete", "node", &name, "--ignore-not-found"])?;
        let node = Self {
            name,
            everywhere,
            is_over: Arc::default(),
        };
        node.everywhere.apply(&json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": node.name, "labels": {LABEL: node.name}},
        }))?;
        let room = json!({"cpu": "4", "memory": "4Gi", "pods": "20"});
        let status = json!({"status": {"capacity": room, "allocatable": room, "conditions": [
            {"type": "Ready", "status": "True", "reason": "Played"}]}});
        patch_status(&node.everywhere, "node", &node.name, &status)?;
        node.keep_alive()?;
        Ok(node)
    }

    fn keep_alive(&self) -> Result<()> {
        let (name, is_over) = (self.name.clone(), self.is_over.clone());
        let everywhere = test_clusters::control_plane()?.kubectl("");
        thread::spawn(move || {
            let (mut last, mut count) = (Instant::now(), 0_u32);
            while !is_over.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(500));
                if last.elapsed() < HEARTBEAT {
                    continue;
                }
                last = Instant::now();
                count = count.wrapping_add(1);
                // Any other time than the last one shows that the node is alive.
                let beat = format!("2027-01-01T00:{:02}:{:02}Z", count / 60 % 60, count % 60);
                let status = json!({"status": {"conditions": [
                    {"type": "Ready", "status": "True", "reason": "Played", "lastHeartbeatTime": beat}]}});
                let _ = patch_status(&everywhere, "node", &name, &status);
            }
        });
        Ok(())
    }

    /// The value of `spec.workload.nodeSelector` with which exporters run only on this node.
    pub fn selector(&self) -> Value {
        json!({LABEL: self.name})
    }

    /// Waits for the pod of the resource `nodes` and reports that its exporter runs and is ready.
    ///
    /// # Errors
    /// There is no pod in time.
    pub fn run_pod(&self, stage: &Stage) -> Result<()> {
        let pod = wait_until("a pod on the played node", Duration::from_secs(30), || {
            let label = "app.kubernetes.io/instance=nodes";
            let pods = stage.kubectl.list("pods", label)?;
            Ok(pods.into_iter().find(|pod| {
                let is_leaving = !pod["metadata"]["deletionTimestamp"].is_null();
                pod["spec"]["nodeName"] == self.name.as_str() && !is_leaving
            }))
        })?;
        let name = pod["metadata"]["name"].as_str().context("no name")?;
        let image = &pod["spec"]["containers"][0]["image"];
        let status = json!({"status": {
            "phase": "Running", "podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}],
            "hostIP": ADDRESS, "hostIPs": [{"ip": ADDRESS}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": "exporter", "image": image, "imageID": "", "ready": true, "started": true,
                "restartCount": 0, "state": {"running": {"startedAt": "2027-01-01T00:00:00Z"}}}],
        }});
        patch_status(&stage.kubectl, "pod", name, &status)
    }
}

impl Drop for PlayedNode {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let delete = ["delete", "node", &self.name, "--wait=false"];
        let _ = self.everywhere.run(&delete);
    }
}

fn patch_status(kubectl: &Kubectl, kind: &str, name: &str, status: &Value) -> Result<()> {
    let status = status.to_string();
    kubectl.run(&["patch", kind, name, "--subresource=status", "-p", &status])?;
    Ok(())
}
