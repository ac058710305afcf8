//! Imports run one way: no two files of a crate import each other, directly or through others, and no file is called
//! `mod.rs`.
//!
//! An import is every path to another file of the crate, in a `use` line or anywhere else in the code. `mod x;` is not an
//! import, `pub use x::Item` is. Tests may import anything.

mod circles;
mod files;
mod paths;
mod tokens;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use circles::{Circle, circles, imports_in_circles};
use files::CrateFiles;

/// What a crate may still contain. A limit only ever falls: remove the entry when both numbers are zero.
struct Exception {
    /// Folder of the crate.
    member: &'static str,
    /// Imports between files that lie on a circle.
    imports_in_circles: usize,
    /// Files called `mod.rs`, in the sources and the tests.
    mod_files: usize,
    why: &'static str,
}

const EXCEPTIONS: &[Exception] = &[];

#[test]
fn no_crate_has_circular_imports_or_mod_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let members = members(&fs::read_to_string(root.join("Cargo.toml")).unwrap());
    assert!(members.len() > 3, "members of the workspace: {members:?}");
    let mut report: String = EXCEPTIONS
        .iter()
        .filter(|exception| !members.iter().any(|member| member == exception.member))
        .map(|exception| {
            format!(
                "{}: no such crate; remove its exception\n",
                exception.member
            )
        })
        .collect();
    for member in &members {
        let exception = EXCEPTIONS.iter().find(|it| it.member == member);
        report += &check(&root.join(member), member, exception);
    }
    assert!(report.is_empty(), "\n{report}");
}

/// Returns the problems of one crate.
fn check(folder: &Path, member: &str, exception: Option<&Exception>) -> String {
    let files = CrateFiles::read(&folder.join("src"));
    let edges = files.imports();
    let mut mod_files = files::rust_files(folder);
    mod_files.retain(|file| file.ends_with("mod.rs"));
    let imports = imports_in_circles(&edges);
    let mut report = String::new();
    let allowed = exception.map_or(0, |it| it.imports_in_circles);
    compare(&mut report, member, "imports in circles", imports, allowed);
    if imports > allowed {
        report += &list(&circles(&edges));
    }
    let (found, allowed) = (mod_files.len(), exception.map_or(0, |it| it.mod_files));
    compare(&mut report, member, "files called mod.rs", found, allowed);
    if found > allowed {
        for file in &mod_files {
            writeln!(report, "  {}: use foo.rs beside foo/", file.display()).unwrap();
        }
    }
    if let Some(exception) = exception.filter(|_| !report.is_empty()) {
        writeln!(report, "  exception for {member}: {}", exception.why).unwrap();
    }
    report
}

fn compare(report: &mut String, member: &str, what: &str, found: usize, allowed: usize) {
    if found > allowed {
        writeln!(report, "{member}: {found} {what}, allowed are {allowed}").unwrap();
    } else if found < allowed {
        writeln!(
            report,
            "{member}: only {found} {what} are left: lower the limit of {allowed} in {}",
            file!()
        )
        .unwrap();
    }
}

/// One line per circle, and below it the import behind each arrow.
fn list(circles: &[Circle]) -> String {
    let mut report = String::new();
    for circle in circles {
        let mut names: Vec<String> = circle.iter().map(|edge| show(&edge.from)).collect();
        names.push(show(&circle[0].from));
        writeln!(report, "  {}", names.join(" → ")).unwrap();
        for edge in circle {
            writeln!(
                report,
                "      {}:{}: {}",
                show(&edge.from),
                edge.line,
                edge.path
            )
            .unwrap();
        }
    }
    report
}

fn show(file: &Path) -> String {
    file.display().to_string()
}

/// The folders in `members = [...]` of the workspace's manifest.
fn members(manifest: &str) -> Vec<String> {
    let (_, rest) = manifest.split_once("members = [").unwrap();
    let (list, _) = rest.split_once(']').unwrap();
    let quoted = list.split('"').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// A crate for a test, in its own folder.
fn made_up(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    for (file, text) in files {
        let path = folder.join("src").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

#[test]
fn a_circle_is_found_with_the_lines_that_close_it() {
    let folder = made_up(
        "imports-circle",
        &[
            ("lib.rs", "mod api;\nmod a;\nmod b;\nmod c;\n"),
            ("a.rs", "//! A.\n\nuse crate::{\n    b::{self, B},\n};\n"),
            ("b.rs", "fn b() -> u8 {\n    crate::c::inner::C\n}\n"),
            ("c.rs", "pub mod inner;\n"),
            ("c/inner.rs", "use super::super::a::A;\n"),
            ("api.rs", "mod child;\npub use child::Child;\n"),
            ("api/child.rs", "use super::Parent;\n"),
        ],
    );
    let expected = "made-up: 5 imports in circles, allowed are 0
  a.rs → b.rs → c/inner.rs → a.rs
      a.rs:4: crate::b
      b.rs:2: crate::c::inner::C
      c/inner.rs:1: super::super::a::A
  api.rs → api/child.rs → api.rs
      api.rs:2: child::Child
      api/child.rs:1: super::Parent
";
    assert_eq!(check(&folder, "made-up", None), expected);
}

#[test]
fn imports_that_run_one_way_pass() {
    let folder = made_up(
        "imports-one-way",
        &[
            (
                "lib.rs",
                "pub mod a;\npub mod b;\n#[cfg(test)]\nmod together;\n",
            ),
            (
                "a.rs",
                "mod child;\nmod inline {\n    use super::A;\n}\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n\
                 use child::Child;\npub(in crate::b) struct A;\n#[test]\nfn t() { crate::b::b(); }\n\
                 fn f<'a>(x: &'a str) -> char { \"use crate::b::B;\"; r#\"crate::b::\"B\"#; '\"' }\n",
            ),
            (
                "a/child.rs",
                "// use super::A;\n/* super::A /* */ crate::a::A */\npub struct Child;\n#[cfg(test)]\nmod tests;\n",
            ),
            ("a/child/tests.rs", "use super::*;\nuse crate::a::A;\n"),
            (
                "b.rs",
                "use crate::a::A;\nuse std::a::X;\nfn f() -> impl Fn() + use<> {}\n",
            ),
            ("together.rs", "use crate::{a, b};\n"),
        ],
    );
    assert_eq!(check(&folder, "made-up", None), "");
}

#[test]
fn a_mod_file_is_found() {
    let folder = made_up("imports-mod-file", &[("lib.rs", ""), ("a/mod.rs", "")]);
    let report = check(&folder, "made-up", None);
    assert!(
        report.starts_with("made-up: 1 files called mod.rs, allowed are 0\n"),
        "{report}"
    );
}

#[test]
fn a_limit_only_falls() {
    let circle = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use crate::a::A;"),
    ];
    let folder = made_up("imports-limit", &circle);
    let allowed = |imports_in_circles| Exception {
        member: "made-up",
        imports_in_circles,
        mod_files: 0,
        why: "a test",
    };
    assert!(check(&folder, "made-up", Some(&allowed(1))).contains("a.rs → b.rs → a.rs"));
    assert_eq!(check(&folder, "made-up", Some(&allowed(2))), "");
    assert!(check(&folder, "made-up", Some(&allowed(3))).contains("lower the limit of 3"));
}
