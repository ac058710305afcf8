//! The archives of text in which node_exporter keeps trees of sysfs: each entry is `Path:`, `Lines:` and the lines, or `Directory:`, or
//! `Path:` and `SymlinkTo:`, then `Mode:`. What a line cannot hold is written as `NULLBYTE`, and `EOF` ends a file without a
//! newline.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// Unpacks an archive into a folder. File modes are ignored, because root can read everything.
///
/// # Errors
/// It is not such an archive, or the disk is full.
pub fn unpack(archive: &str, folder: &Path) -> Result<()> {
    let mut lines = archive.lines();
    let mut path = PathBuf::new();
    while let Some(line) = lines.next() {
        let Some((key, value)) = line.split_once(": ") else {
            // Comments, and the rule between two entries.
            if line.starts_with('#') {
                continue;
            }
            bail!("an archive does not have the line {line:?}");
        };
        match key {
            "Path" => {
                path = folder.join(value);
                make_parent(&path)?;
            }
            "Directory" => fs::create_dir_all(folder.join(value))?,
            "SymlinkTo" => match symlink(value, &path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error)?,
                _ => {}
            },
            "Lines" => {
                let count: usize = value.parse().context("a number of lines")?;
                let content: Vec<&str> = lines.by_ref().take(count).collect();
                fs::write(&path, text(&content))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().context("a path without a folder")?;
    Ok(fs::create_dir_all(parent)?)
}

fn text(lines: &[&str]) -> String {
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    let text = text.replace("NULLBYTE", "\0");
    match text.strip_suffix("EOF\n") {
        Some(text) => text.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_entry() {
        let folder = tempfile::tempdir().unwrap();
        let archive = "# Archive\nDirectory: a\nMode: 755\n# ttar - -\nPath: a/file\nLines: 2\none: 1\ntwoNULLBYTEEOF\n\
            Mode: 644\n# ttar - -\nPath: a/link\nSymlinkTo: ../a/file\n# ttar - -\nPath: a/empty\nLines: 0\nMode: 644\n";
        unpack(archive, folder.path()).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("a/file"), "one: 1\ntwo\0");
        assert_eq!(read("a/link"), read("a/file"));
        assert_eq!(read("a/empty"), "");
        assert!(unpack("nonsense\n", folder.path()).is_err());
    }
}
