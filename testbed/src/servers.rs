//! The real servers that tests and the demo run: built once from their own Go modules, cached by version.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, anyhow};
use clap::{ValueEnum, builder::PossibleValue};

use crate::{
    paths::{cache, find_program, repository},
    process::output,
    progress::step,
};

/// A program that is built from a pinned Go module below `testbed/servers`.
pub struct Server {
    /// The file's name in the cache and its name on a `PATH`.
    pub name: &'static str,
    /// The folder below `testbed/servers` whose `go.mod` pins it.
    module: &'static str,
    /// The version that `go.mod` pins; part of the cached file's name.
    pub version: &'static str,
    /// The Go package to build.
    package: &'static str,
    /// Go build tags.
    tags: &'static str,
    /// Linker flags behind `-s -w`.
    link: &'static str,
}

/// A minor version of Kubernetes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kubernetes {
    /// The newest.
    #[value(name = "1.37")]
    V1_37,
    /// A version between the newest and the oldest.
    #[value(name = "1.34")]
    V1_34,
    /// The oldest version that the chart accepts.
    #[value(name = "1.30")]
    V1_30,
}

impl Kubernetes {
    /// The version of every cluster for which no other is named.
    pub const DEFAULT: Self = Self::V1_37;

    /// The full version, such as `v1.37.2`.
    pub fn version(self) -> &'static str {
        self.server().version
    }

    fn server(self) -> &'static Server {
        match self {
            Self::V1_37 => &KUBERNETES,
            Self::V1_34 => &KUBERNETES_1_34,
            Self::V1_30 => &KUBERNETES_1_30,
        }
    }
}

impl fmt::Display for Kubernetes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        formatter.write_str(value.as_ref().map_or("", PossibleValue::get_name))
    }
}

/// One binary that is every Kubernetes command, by the name it is called by.
const KUBERNETES: Server = Server {
    name: "kubernetes",
    module: "kubernetes",
    version: "v1.37.2",
    package: ".",
    tags: "",
    link: "-X k8s.io/component-base/version.gitVersion=v1.37.2 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37",
};

const KUBERNETES_1_34: Server = Server {
    module: "kubernetes-1.34",
    version: "v1.34.4",
    link: "-X k8s.io/component-base/version.gitVersion=v1.34.4 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34",
    ..KUBERNETES
};

const KUBERNETES_1_30: Server = Server {
    module: "kubernetes-1.30",
    version: "v1.30.14",
    link: "-X k8s.io/component-base/version.gitVersion=v1.30.14 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=30",
    ..KUBERNETES
};

/// The container that holds a pod's namespaces.
pub const PAUSE: Server = Server {
    name: "pause",
    module: "pause",
    version: "v1",
    package: ".",
    tags: "",
    link: "",
};

/// Installs the chart.
pub const HELM: Server = Server {
    name: "helm",
    module: "helm",
    version: "v4.3.1",
    package: "helm.sh/helm/v4/cmd/helm",
    tags: "",
    link: "-X helm.sh/helm/v4/internal/version.version=v4.3.1",
};

/// Scrapes. Of its service discoveries only Kubernetes', static and file are compiled in, which halves the build.
pub const PROMETHEUS: Server = Server {
    name: "prometheus",
    module: "prometheus",
    version: "v0.316.0",
    package: "github.com/prometheus/prometheus/cmd/prometheus",
    tags: "netgo,remove_all_sd,enable_kubernetes_sd",
    link: "-X github.com/prometheus/common/version.Version=3.16.0",
};

/// The Prometheus of two years ago, 3.0.1 of November 2024: for what must hold with old scrapers as well.
pub const PROMETHEUS_OLD: Server = Server {
    name: "prometheus-old",
    module: "prometheus-old",
    version: "v0.300.1",
    package: "github.com/prometheus/prometheus/cmd/prometheus",
    tags: "netgo",
    link: "-X github.com/prometheus/common/version.Version=3.0.1",
};

/// VictoriaMetrics' scraper, which has a dialect of its own. Later versions want a later Go.
pub const VMAGENT: Server = Server {
    name: "vmagent",
    module: "vmagent",
    version: "v1.140.0",
    package: "github.com/VictoriaMetrics/VictoriaMetrics/app/vmagent",
    tags: "",
    link: "",
};

/// Checks scrape configurations and rules.
pub const PROMTOOL: Server = Server {
    name: "promtool",
    package: "github.com/prometheus/prometheus/cmd/promtool",
    ..PROMETHEUS
};

/// What ours is compared with.
pub const NODE_EXPORTER: Server = Server {
    name: "node_exporter",
    module: "node_exporter",
    version: "v1.12.1",
    package: "github.com/prometheus/node_exporter",
    tags: "netgo",
    link: "-X github.com/prometheus/common/version.Version=1.12.1",
};

/// Signs certificate requests, by its own controllers. Upstream's command is a module of its own, which no module proxy
/// serves: ours wires up those controllers that a CA issuer needs, and nothing more.
pub const CERT_MANAGER: Server = Server {
    name: "cert-manager",
    module: "cert-manager",
    version: "v1.21.2",
    package: ".",
    tags: "",
    link: "",
};

/// Makes a Prometheus of its resources and of PodMonitors. (The newest version whose modules can all be had.)
pub const PROMETHEUS_OPERATOR: Server = Server {
    name: "prometheus-operator",
    module: "prometheus-operator",
    version: "v0.93.1",
    package: "github.com/prometheus-operator/prometheus-operator/cmd/operator",
    tags: "",
    link: "",
};

/// Hands the configuration of prometheus-operator to a Prometheus, beside which it runs.
pub const CONFIG_RELOADER: Server = Server {
    name: "prometheus-config-reloader",
    package: "github.com/prometheus-operator/prometheus-operator/cmd/prometheus-config-reloader",
    ..PROMETHEUS_OPERATOR
};

/// All but Kubernetes.
const ALL: [&Server; 9] = [
    &PAUSE,
    &HELM,
    &PROMETHEUS,
    &PROMTOOL,
    &VMAGENT,
    &NODE_EXPORTER,
    &CERT_MANAGER,
    &PROMETHEUS_OPERATOR,
    &CONFIG_RELOADER,
];

/// Finds a server in `KUBEBUILDER_ASSETS`, on the `PATH` or in the cache, and builds it where it is nowhere.
///
/// # Errors
/// Go is missing, or the build failed.
pub fn ensure(server: &Server) -> Result<PathBuf> {
    let file = cache()?.join(format!("{}-{}", server.name, server.version));
    if file.is_file() {
        return Ok(file);
    }
    if find_program("go").is_none() {
        return Err(anyhow!(
            "`go` is not on the PATH, and {} {} must be built from its Go module: install Go 1.26.7 or later (only the demo and the tests need it)",
            server.name,
            server.version
        ));
    }
    let label = format!(
        "build {} {} (once; then cached)",
        server.name, server.version
    );
    step(&label, || build(server, &file))?;
    Ok(file)
}

/// The four Kubernetes commands and kubectl: a folder with one name per command. `KUBEBUILDER_ASSETS` takes the place of
/// the default version only.
///
/// # Errors
/// As [`ensure`].
pub fn kubernetes_commands(version: Kubernetes) -> Result<PathBuf> {
    const COMMANDS: [&str; 5] = [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kubectl",
    ];
    if version == Kubernetes::DEFAULT
        && let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from)
        && COMMANDS.iter().all(|name| assets.join(name).is_file())
    {
        return Ok(assets);
    }
    let binary = ensure(version.server())?;
    let folder = cache()?.join(format!("kubernetes-{}-commands", version.version()));
    fs::create_dir_all(&folder)?;
    for name in COMMANDS {
        let link = folder.join(name);
        if !link.exists() {
            // Two runs may race here; that the other one was first is as good.
            let made = std::os::unix::fs::symlink(&binary, &link);
            if !link.exists() {
                made.with_context(|| format!("cannot link {}", link.display()))?;
            }
        }
    }
    Ok(folder)
}

/// The folder with the definitions that prometheus-operator installs, for the chart's objects of its kinds.
///
/// # Errors
/// Go is missing, or the module is not to be had.
pub fn monitoring_definitions() -> Result<PathBuf> {
    let module = "github.com/prometheus-operator/prometheus-operator";
    let source = source(PROMETHEUS_OPERATOR.module, module)?;
    Ok(source.join("example/prometheus-operator-crd"))
}

/// The captured host that node_exporter is tested with, in the folder of its module.
///
/// # Errors
///
/// The module cannot be downloaded.
pub fn node_exporter_fixtures() -> Result<PathBuf> {
    let source = source(NODE_EXPORTER.module, NODE_EXPORTER.package)?;
    Ok(source.join("collector/fixtures"))
}

/// The archive of the captured host that the module is tested with by which node_exporter reads procfs and sysfs.
///
/// # Errors
///
/// The module cannot be downloaded.
pub fn procfs_fixtures() -> Result<PathBuf> {
    let source = source(NODE_EXPORTER.module, "github.com/prometheus/procfs")?;
    Ok(source.join("testdata/fixtures.ttar"))
}

/// The folder with the definitions of cert-manager's kinds.
///
/// # Errors
/// Go is missing, or the module is not to be had.
pub fn cert_manager_definitions() -> Result<PathBuf> {
    let source = source(CERT_MANAGER.module, "github.com/cert-manager/cert-manager")?;
    Ok(source.join("deploy/crds"))
}

/// Where the source of a Go module is, in the version that a folder below `testbed/servers` pins.
fn source(folder: &str, module: &str) -> Result<PathBuf> {
    let mut go = Command::new("go");
    let told = output(
        go.current_dir(repository().join("testbed/servers").join(folder))
            .args(["mod", "download", "-json", module]),
    )?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    let folder = told.get("Dir").and_then(serde_json::Value::as_str);
    let folder = folder.context("`go mod download` does not say where the module is")?;
    Ok(PathBuf::from(folder))
}

/// Builds everything and says where it is.
///
/// # Errors
/// As [`ensure`].
pub fn build_all() -> Result<ExitCode> {
    println!(
        "kubernetes    {}",
        kubernetes_commands(Kubernetes::DEFAULT)?.display()
    );
    for server in ALL {
        println!("{:<13} {}", server.name, ensure(server)?.display());
    }
    println!(
        "{:<13} {}",
        "its CRDs",
        cert_manager_definitions()?.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn build(server: &Server, file: &Path) -> Result<()> {
    // Built beside its final name and then renamed: a build that was cut off leaves nothing that looks finished.
    let partial = file.with_extension(format!("partial-{}", std::process::id()));
    let mut command = Command::new("go");
    command
        .current_dir(repository().join("testbed/servers").join(server.module))
        .env("CGO_ENABLED", "0")
        .args(["build", "-trimpath", "-ldflags"])
        .arg(format!("-s -w {}", server.link))
        .args(["-tags", server.tags, "-o"])
        .arg(&partial)
        .arg(server.package);
    output(&mut command)?;
    fs::rename(&partial, file)
        .with_context(|| format!("cannot put {} in place", file.display()))?;
    Ok(())
}
