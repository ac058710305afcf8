//! The paths that one file names, and the modules it declares.

use std::collections::BTreeMap;

use super::tokens::{Kind, Token, tokens};

/// A path of names: `["super", "spec", "SpecError"]`.
pub type Names = Vec<String>;

#[derive(Clone, Debug)]
pub struct NamedPath {
    pub names: Names,
    /// Inline modules around the path, outermost first.
    pub inside: Names,
    pub line: usize,
    /// What a `use` line calls the last name here; `None` in other code.
    pub called: Option<String>,
}

/// What one file says, its tests left out.
#[derive(Debug, Default)]
pub struct FileContents {
    pub paths: Vec<NamedPath>,
    /// Declared with `mod x;` for tests alone.
    pub test_modules: Vec<Names>,
    pub is_test: bool,
}

impl FileContents {
    pub fn read(text: &str) -> Self {
        let mut reader = Reader {
            tokens: tokens(text),
            at: 0,
            depth: 0,
            inside: BTreeMap::new(),
            contents: Self::default(),
        };
        while reader.at < reader.tokens.len() {
            reader.step();
        }
        reader.contents
    }
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// Inline modules that are open, by the depth of their brace.
    inside: BTreeMap<usize, String>,
    contents: FileContents,
}

impl Reader {
    fn token(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead)
    }

    fn is(&self, ahead: usize, symbol: char) -> bool {
        self.token(ahead).is_some_and(|token| token.is(symbol))
    }

    fn word(&self, ahead: usize) -> Option<&str> {
        self.token(ahead).and_then(Token::word)
    }

    fn is_separator(&self, ahead: usize) -> bool {
        self.token(ahead)
            .is_some_and(|token| token.kind == Kind::Separator)
    }

    fn step(&mut self) {
        if self.is(0, '#') && (self.is(1, '[') || self.is(1, '!') && self.is(2, '[')) {
            return self.attribute();
        }
        match self.word(0) {
            Some("pub") if self.is(1, '(') && self.word(2) == Some("in") => self.skip_to(')'),
            // `use<…>` behind `impl Trait` captures lifetimes.
            Some("use") if !self.is(1, '<') => {
                self.at += 1;
                self.use_tree(&[]);
            }
            Some("mod") if self.is(2, '{') => {
                let name = self.word(1).unwrap_or_default().to_owned();
                self.depth += 1;
                self.inside.insert(self.depth, name);
                self.at += 3;
            }
            Some(_) if self.is_separator(1) => self.plain_path(),
            _ => {
                if self.is(0, '{') {
                    self.depth += 1;
                } else if self.is(0, '}') {
                    self.inside.remove(&self.depth);
                    self.depth = self.depth.saturating_sub(1);
                }
                self.at += 1;
            }
        }
    }

    fn skip_to(&mut self, symbol: char) {
        while self.at < self.tokens.len() && !self.is(0, symbol) {
            self.at += 1;
        }
    }

    /// Leaves out what an attribute says is only for tests; reads every other attribute as code.
    fn attribute(&mut self) {
        let is_inner = self.is(1, '!');
        let start = self.at + usize::from(is_inner) + 2;
        let inside = &self.tokens[start..];
        let length = inside.iter().position(|token| token.is(']'));
        let inside = &inside[..length.unwrap_or(inside.len())];
        let words: Vec<&str> = inside.iter().filter_map(Token::word).collect();
        let is_test = match words.as_slice() {
            ["cfg", "test"] | ["cfg", "all", "test", ..] => true,
            [.., "test"] => words.first() != Some(&"cfg") && inside.len() == words.len() * 2 - 1,
            _ => false,
        };
        if is_test && is_inner && self.inside.is_empty() {
            self.contents.is_test = true;
        }
        if !is_test || is_inner {
            self.at = start;
            return;
        }
        self.at = start + inside.len() + 1;
        self.skip_item();
    }

    fn skip_item(&mut self) {
        let mut depth = 0;
        while let Some(token) = self.token(0).cloned() {
            if depth == 0 && token.word() == Some("mod") && self.is(2, ';') {
                let mut module = self.open_modules();
                module.extend(self.word(1).map(str::to_owned));
                self.contents.test_modules.push(module);
            }
            let Kind::Symbol(symbol) = token.kind else {
                self.at += 1;
                continue;
            };
            match symbol {
                '(' | '[' | '{' => depth += 1,
                // A field or variant for tests alone, the last one of its type.
                ')' | ']' | '}' if depth == 0 => return,
                ')' | ']' | '}' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 && (symbol == ';' || symbol == '}') {
                return;
            }
        }
    }

    fn open_modules(&self) -> Names {
        self.inside.values().cloned().collect()
    }

    fn push(&mut self, names: Names, line: usize, called: Option<String>) {
        let inside = self.open_modules();
        self.contents.paths.push(NamedPath {
            names,
            inside,
            line,
            called,
        });
    }

    /// One tree of a `use` line, up to the `,`, `}` or `;` behind it.
    fn use_tree(&mut self, before: &[String]) {
        let mut names = before.to_vec();
        let line = self.token(0).map_or(0, |token| token.line);
        let mut called = None;
        while let Some(token) = self.token(0).cloned() {
            match token.kind {
                Kind::Symbol('{') => {
                    self.at += 1;
                    while self.at < self.tokens.len() && !self.is(0, '}') {
                        self.use_tree(&names);
                        self.at += usize::from(self.is(0, ','));
                    }
                    self.at += 1;
                    return;
                }
                Kind::Symbol(',' | '}' | ';') => break,
                Kind::Word(word) if word == "as" => {
                    called = self.word(1).map(str::to_owned);
                    self.at += 1;
                }
                // `a::{self}` is `a`.
                Kind::Word(word) if word == "self" && !names.is_empty() => {}
                Kind::Word(word) => names.push(word),
                _ => {}
            }
            self.at += 1;
        }
        let called = called.or_else(|| names.last().cloned());
        self.push(names, line, called);
    }

    fn plain_path(&mut self) {
        let line = self.token(0).map_or(0, |token| token.line);
        let is_continued = self.at > 0 && self.tokens[self.at - 1].kind == Kind::Separator;
        let mut names = Vec::new();
        while let Some(word) = self.word(0) {
            names.push(word.to_owned());
            self.at += 1;
            if !self.is_separator(0) {
                break;
            }
            self.at += 1;
        }
        // What follows `::` without a name before it, as in `::std::x`, is another crate's.
        if !is_continued {
            self.push(names, line, None);
        }
    }
}
