//! Container images without a container engine: an archive that is an OCI image layout and a Docker archive at once,
//! of one layer, with one static binary. The same binary gives the same bytes.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::binaries;
use crate::{paths::repository, progress::step};

/// The user that the image of the exporter runs as, and its group: its own, because an exporter sees the node's `/proc`, and
/// a process may read the environment and the files of every process of the same user.
const EXPORTER_USER: u32 = 29_100;
/// The user that the image of the operator runs as: another one, because the operator's pod has a token for the API server.
const OPERATOR_USER: u32 = 29_101;
/// The user of images that only tests run.
const OTHER_USER: u32 = 29_199;

/// Builds and writes our own images.
///
/// # Errors
/// A build failed, or a file could not be written.
pub fn ours(prefix: &str, tag: &str, folder: &Path) -> Result<Vec<PathBuf>> {
    let built = binaries::release()?;
    let folder = repository().join(folder);
    fs::create_dir_all(&folder)?;
    step("write images", || {
        binaries::NAMES
            .into_iter()
            .map(|name| {
                let binary = fs::read(built.join(name))
                    .with_context(|| format!("the build left no {name}"))?;
                let archive = folder.join(format!("{name}.tar"));
                write(
                    &archive,
                    &format!("{prefix}/{name}:{tag}"),
                    &Content::of(name, binary),
                )?;
                Ok(archive)
            })
            .collect()
    })
}

/// What an image holds.
pub struct Content {
    files: Vec<(String, Vec<u8>)>,
    entrypoint: String,
    user: u32,
}

impl Content {
    /// A static binary at the root, which is also what the image runs.
    pub fn of(name: &str, binary: Vec<u8>) -> Self {
        Self {
            files: vec![(name.to_owned(), binary)],
            entrypoint: format!("/{name}"),
            user: match name {
                binaries::EXPORTER => EXPORTER_USER,
                binaries::OPERATOR => OPERATOR_USER,
                _ => OTHER_USER,
            },
        }
    }

    /// The same with the binary in `/bin`, where the images of other projects have it.
    pub fn in_bin(name: &str, binary: Vec<u8>) -> Self {
        Self {
            files: vec![(format!("bin/{name}"), binary)],
            entrypoint: format!("/bin/{name}"),
            user: OTHER_USER,
        }
    }
}

/// Writes the archive of an image of this name (`repository:tag`).
///
/// # Errors
/// The file could not be written.
pub fn write(archive: &Path, name: &str, content: &Content) -> Result<()> {
    let layer = layer(content)?;
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    zipped.write_all(&layer)?;
    let zipped = zipped.finish()?;

    let config = config(content, &digest(&layer)).to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("application/vnd.oci.image.config.v1+json", &config),
        "layers": [blob("application/vnd.oci.image.layer.v1.tar+gzip", &zipped)],
    })
    .to_string()
    .into_bytes();
    let mut listed = blob("application/vnd.oci.image.manifest.v1+json", &manifest);
    if let Value::Object(fields) = &mut listed {
        fields.insert(
            "platform".into(),
            json!({"architecture": architecture(), "os": "linux"}),
        );
        let tag = name.rsplit(':').next().unwrap_or("latest");
        fields.insert(
            "annotations".into(),
            json!({
            "io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}),
        );
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [listed],
    });
    // For `docker load` before version 25, which reads no OCI layout.
    let docker = json!([{
        "Config": blob_path(&config), "RepoTags": [name], "Layers": [blob_path(&zipped)]}]);

    let file =
        File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?;
    let mut tar = Builder::new(file);
    add(
        &mut tar,
        "oci-layout",
        br#"{"imageLayoutVersion":"1.0.0"}"#,
        0o644,
    )?;
    add(&mut tar, "index.json", index.to_string().as_bytes(), 0o644)?;
    add(
        &mut tar,
        "manifest.json",
        docker.to_string().as_bytes(),
        0o644,
    )?;
    for data in [&config, &zipped, &manifest] {
        add(&mut tar, &blob_path(data), data, 0o644)?;
    }
    tar.finish()?;
    Ok(())
}

fn layer(content: &Content) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for folder in ["etc/", "proc/", "sys/", "dev/", "tmp/"] {
        let mut header = header(0, if folder == "tmp/" { 0o1777 } else { 0o755 });
        header.set_entry_type(EntryType::Directory);
        tar.append_data(&mut header, folder, std::io::empty())?;
    }
    let user = content.user;
    let passwd = format!("root:x:0:0:root:/:/none\nsecure-exporter:x:{user}:{user}::/:/none\n");
    let group = format!("root:x:0:\nsecure-exporter:x:{user}:\n");
    add(&mut tar, "etc/passwd", passwd.as_bytes(), 0o644)?;
    add(&mut tar, "etc/group", group.as_bytes(), 0o644)?;
    for (path, data) in &content.files {
        add(&mut tar, path, data, 0o755)?;
    }
    Ok(tar.into_inner()?)
}

fn config(content: &Content, layer: &str) -> Value {
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": format!("{0}:{0}", content.user),
            "Entrypoint": [content.entrypoint],
            "Labels": {
                "org.opencontainers.image.title": content.entrypoint.trim_start_matches('/'),
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
                "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        "history": [{"created_by": "cargo xtask image"}],
    })
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn blob(media_type: &str, data: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", digest(data)), "size": data.len()})
}

fn blob_path(data: &[u8]) -> String {
    format!("blobs/sha256/{}", digest(data))
}

/// SHA-256, lower-case hexadecimal.
pub fn digest(data: &[u8]) -> String {
    Sha256::digest(data)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn add<W: Write>(tar: &mut Builder<W>, path: &str, data: &[u8], mode: u32) -> Result<()> {
    tar.append_data(&mut header(data.len(), mode), path, data)?;
    Ok(())
}

fn header(size: usize, mode: u32) -> Header {
    let mut header = Header::new_ustar();
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exporter_and_operator_run_as_the_users_of_their_manifests_and_not_as_one() {
        let user = |name: &str| Content::of(name, Vec::new()).user;
        let (exporter, operator) = (user(binaries::EXPORTER), user(binaries::OPERATOR));
        assert_ne!(exporter, operator);
        let users = |manifest: &str| {
            let text = fs::read_to_string(repository().join(manifest)).unwrap();
            let lines = text.lines().map(str::trim);
            let numbers = lines.filter_map(|line| {
                let ids = ["runAsUser: ", "runAsGroup: ", "fsGroup: "];
                let number = ids.iter().find_map(|id| line.strip_prefix(id))?;
                Some(number.parse().unwrap())
            });
            numbers.collect::<Vec<u32>>()
        };
        let chart = users("charts/secure-exporter/values.yaml");
        assert_eq!(chart, [operator; 2]);
        // What the operator renders for the exporter.
        for snapshot in ["empty-daemon-set", "everything-daemon-set"] {
            let rendered = users(&format!("operator/tests/it/snapshots/{snapshot}.snap"));
            assert_eq!(rendered, [exporter; 3], "{snapshot}");
        }
    }

    #[test]
    fn the_same_binary_gives_the_same_archive_and_every_digest_is_of_its_blob() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1.tar"), folder.path().join("2.tar"));
        for archive in [&one, &two] {
            write(
                archive,
                "localhost/x:dev",
                &Content::of("x", b"binary".to_vec()),
            )
            .unwrap();
        }
        assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
        let mut seen = 0;
        for entry in tar::Archive::new(File::open(&one).unwrap())
            .entries()
            .unwrap()
        {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            if let Some(name) = path.strip_prefix("blobs/sha256/") {
                let mut data = Vec::new();
                std::io::Read::read_to_end(&mut entry, &mut data).unwrap();
                assert_eq!(digest(&data), name);
                seen += 1;
            }
        }
        assert_eq!(seen, 3);
    }
}
