//! Rust text as the few tokens that imports are made of: no comments, no literals.

use std::{iter::Peekable, str::Chars};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Word(String),
    /// `::`
    Separator,
    Symbol(char),
    /// A string, character or byte literal.
    Literal,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub kind: Kind,
    /// From 1.
    pub line: usize,
}

impl Token {
    pub fn is(&self, symbol: char) -> bool {
        self.kind == Kind::Symbol(symbol)
    }

    pub fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }
}

pub fn tokens(text: &str) -> Vec<Token> {
    let mut reader = Reader {
        chars: text.chars().peekable(),
        line: 1,
    };
    let mut tokens = Vec::new();
    while let Some((kind, line)) = reader.token() {
        tokens.extend(kind.map(|kind| Token { kind, line }));
    }
    tokens
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn next_is(&mut self, expected: char) -> bool {
        self.chars.peek() == Some(&expected)
    }

    /// The next token and its line; no kind for space and comments.
    fn token(&mut self) -> Option<(Option<Kind>, usize)> {
        let line = self.line;
        let kind = match self.next()? {
            c if c.is_whitespace() => None,
            '/' if self.next_is('/') => {
                while self.next().is_some_and(|c| c != '\n') {}
                None
            }
            '/' if self.next_is('*') => {
                self.block_comment();
                None
            }
            '"' => {
                self.quoted('"');
                Some(Kind::Literal)
            }
            '\'' => self.character_or_lifetime(),
            ':' if self.next_is(':') => {
                self.next();
                Some(Kind::Separator)
            }
            c if is_word(c) => Some(self.word(c)),
            c => Some(Kind::Symbol(c)),
        };
        Some((kind, line))
    }

    fn block_comment(&mut self) {
        self.next();
        let (mut depth, mut before) = (1, ' ');
        while let Some(c) = self.next() {
            match (before, c) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    before = c;
                    continue;
                }
            }
            before = ' ';
            if depth == 0 {
                break;
            }
        }
    }

    fn quoted(&mut self, quote: char) {
        while let Some(c) = self.next() {
            if c == '\\' {
                self.next();
            } else if c == quote {
                break;
            }
        }
    }

    /// `'a'` and `'\n'` are literals, `'a` is a lifetime, which imports nothing.
    fn character_or_lifetime(&mut self) -> Option<Kind> {
        let mut ahead = self.chars.clone();
        let first = ahead.next();
        if first == Some('\\') || ahead.next() == Some('\'') {
            self.quoted('\'');
            return Some(Kind::Literal);
        }
        while self.chars.peek().is_some_and(|c| is_word(*c)) {
            self.next();
        }
        None
    }

    fn word(&mut self, first: char) -> Kind {
        let mut word = String::from(first);
        while let Some(c) = self.chars.next_if(|c| is_word(*c)) {
            word.push(c);
        }
        match word.as_str() {
            "r" | "br" | "cr" if self.next_is('"') || self.next_is('#') => self.raw(),
            "b" | "c" if self.next_is('"') => {
                self.next();
                self.quoted('"');
                Kind::Literal
            }
            "b" if self.next_is('\'') => {
                self.next();
                self.quoted('\'');
                Kind::Literal
            }
            _ => Kind::Word(word),
        }
    }

    /// A raw string, or a raw word such as `r#type`.
    fn raw(&mut self) -> Kind {
        let mut hashes = 0;
        while self.chars.next_if_eq(&'#').is_some() {
            hashes += 1;
        }
        if !self.next_is('"') {
            return self.next().map_or(Kind::Literal, |first| self.word(first));
        }
        self.next();
        while let Some(c) = self.next() {
            if c == '"' && (0..hashes).all(|_| self.chars.next_if_eq(&'#').is_some()) {
                break;
            }
        }
        Kind::Literal
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
