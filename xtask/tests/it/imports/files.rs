//! The files of one crate, and which of them a path leads to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::{
    circles::Edge,
    paths::{FileContents, NamedPath, Names},
};

/// The files of a crate by module, without those that are only for tests.
pub struct CrateFiles {
    modules: BTreeMap<Names, SourceFile>,
    /// `main.rs` beside `lib.rs`: it imports, and nothing can import it.
    program: Option<SourceFile>,
}

struct SourceFile {
    /// Below `src`.
    path: PathBuf,
    contents: FileContents,
}

impl CrateFiles {
    pub fn read(folder: &Path) -> Self {
        let (mut modules, mut program) = (BTreeMap::new(), None);
        let has_library = folder.join("lib.rs").exists();
        for file in rust_files(folder) {
            let text = fs::read_to_string(&file).unwrap();
            let path = file.strip_prefix(folder).unwrap().to_owned();
            let module = module(&path);
            let is_program = has_library && path == Path::new("main.rs");
            let contents = FileContents::read(&text);
            let file = SourceFile { path, contents };
            if is_program {
                program = Some(file);
            } else {
                modules.insert(module, file);
            }
        }
        let mut tests = BTreeSet::new();
        for (module, file) in &modules {
            if file.contents.is_test {
                tests.insert(module.clone());
            }
            let declared = file.contents.test_modules.iter();
            tests.extend(declared.map(|inner| [module.as_slice(), inner].concat()));
        }
        modules.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        Self { modules, program }
    }

    /// The imports between two files of the crate, the first line of each.
    pub fn imports(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        let files = self.modules.iter();
        let program = self.program.iter();
        let root = Names::new();
        for (module, file) in files.chain(program.map(|file| (&root, file))) {
            let mut seen = BTreeSet::new();
            for path in &file.contents.paths {
                let to = self
                    .resolve(module, file, path)
                    .and_then(|names| self.file(&names));
                let Some(to) = to.filter(|to| *to != file.path) else {
                    continue;
                };
                if seen.insert(to) {
                    edges.push(Edge {
                        from: file.path.clone(),
                        to: to.to_owned(),
                        line: path.line,
                        path: path.names.join("::"),
                    });
                }
            }
        }
        edges
    }

    /// A path from the root of the crate; `None` where it leads to another crate.
    fn resolve(&self, module: &Names, file: &SourceFile, path: &NamedPath) -> Option<Names> {
        let here = [module.as_slice(), &path.inside].concat();
        let (first, rest) = path.names.split_first()?;
        let child = || {
            let child = [here.as_slice(), std::slice::from_ref(first)].concat();
            self.modules.contains_key(&child).then_some(child)
        };
        let start = match first.as_str() {
            "crate" => Names::new(),
            "self" => here,
            "super" => {
                let mut start = here;
                start.pop();
                start
            }
            _ if path.called.is_some() => child()?,
            _ => self.imported(module, file, path).or_else(child)?,
        };
        Some(rest.iter().fold(start, |mut names, name| {
            if name == "super" {
                names.pop();
            } else {
                names.push(name.clone());
            }
            names
        }))
    }

    /// The module that a `use` line has given the first name of `path`.
    fn imported(&self, module: &Names, file: &SourceFile, path: &NamedPath) -> Option<Names> {
        let first = path.names.first();
        let uses = file.contents.paths.iter();
        uses.filter(|it| it.called.as_ref() == first && it.inside == path.inside)
            .find_map(|it| self.resolve(module, file, it))
            .filter(|names| self.modules.contains_key(names))
    }

    /// The deepest file on the way to an item.
    fn file(&self, names: &[String]) -> Option<&Path> {
        (0..=names.len())
            .rev()
            .find_map(|length| self.modules.get(&names[..length]))
            .map(|file| file.path.as_path())
    }
}

/// `a/b.rs` is `a::b`.
fn module(path: &Path) -> Names {
    let names = path.with_extension("");
    let mut names: Names = names
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let is_root = names.len() == 1 && (names[0] == "lib" || names[0] == "main");
    if is_root || names.last().is_some_and(|name| name == "mod") {
        names.pop();
    }
    names
}

/// Every Rust file below `folder`, sorted.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("target") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
