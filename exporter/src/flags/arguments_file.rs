//! `@FILE`: arguments from a file, as in kingpin.
//!
//! Each line is one argument, without quoting or trimming. Lines that begin with `#` and blank lines are ignored. A line
//! may include another file. After `--` arguments are taken literally.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use super::error::FlagError;

/// Maximum depth of nested files; a deeper nesting means that a file includes itself.
const MAX_DEPTH: usize = 8;

/// Replaces the arguments that name files by the lines of these files.
///
/// # Errors
/// A file cannot be read, or includes itself.
pub(super) fn expand(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Vec<OsString>, FlagError> {
    let mut arguments = arguments.into_iter();
    let mut expanded: Vec<OsString> = arguments.next().into_iter().collect();
    for argument in arguments.by_ref() {
        if argument == "--" {
            expanded.push(argument);
            break;
        }
        push(argument, 0, &mut expanded)?;
    }
    expanded.extend(arguments);
    Ok(expanded)
}

fn push(argument: OsString, depth: usize, expanded: &mut Vec<OsString>) -> Result<(), FlagError> {
    let Some(file) = argument.as_bytes().strip_prefix(b"@") else {
        expanded.push(argument);
        return Ok(());
    };
    let file = Path::new(OsStr::from_bytes(file));
    if file.as_os_str().is_empty() {
        return Err(FlagError("expected @ file to expand arguments from".into()));
    }
    let refuse = |reason: String| {
        FlagError(format!(
            "cannot read arguments from {}: {reason}",
            file.display()
        ))
    };
    if depth == MAX_DEPTH {
        return Err(refuse(
            "it includes itself, or the files are nested too deeply".into(),
        ));
    }
    let text = std::fs::read(file).map_err(|error| refuse(error.to_string()))?;
    for line in lines(&text) {
        push(OsString::from_vec(line.to_vec()), depth + 1, expanded)?;
    }
    Ok(())
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.starts_with(b"#") && !line.trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(arguments: &[&str]) -> Result<Vec<String>, String> {
        let text = |argument: OsString| argument.into_string().unwrap();
        expand(arguments.iter().map(OsString::from))
            .map(|all| all.into_iter().map(text).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn lines_stand_in_the_place_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let inner = format!("@{}", path("inner"));
        std::fs::write(path("inner"), "--b c\r\n").unwrap();
        std::fs::write(
            path("outer"),
            format!("# no --argument\n\n  \n--a\n{inner}\n  # kept\n--d"),
        )
        .unwrap();
        let outer = format!("@{}", path("outer"));
        let all = expanded(&["@program", "--first", &outer, "--last", "--", &outer]);
        assert_eq!(
            all.unwrap(),
            [
                "@program", "--first", "--a", "--b c", "  # kept", "--d", "--last", "--", &outer
            ]
        );
        assert_eq!(
            expanded(&["x", "--flag=@absent"]).unwrap(),
            ["x", "--flag=@absent"]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let circle = folder.path().join("circle");
        std::fs::write(&circle, format!("@{}\n", circle.display())).unwrap();
        let refused = |argument: &str| expanded(&["x", argument]).unwrap_err();
        assert!(refused("@/does/not/exist").contains("/does/not/exist"));
        assert!(refused(&format!("@{}", circle.display())).contains("includes itself"));
        assert!(refused("@").contains("expected @ file"));
    }
}
