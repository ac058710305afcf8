//! Circles in a graph of imports.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::{Path, PathBuf},
};

/// One file imports another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    pub from: PathBuf,
    pub to: PathBuf,
    pub line: usize,
    /// As it is written.
    pub path: String,
}

/// Imports that lead back to the file of the first one.
pub type Circle = Vec<Edge>;

/// The number of imports that lie on any circle. Unlike the number of circles it decreases with every import that is
/// removed, however tangled the rest is.
pub fn imports_in_circles(edges: &[Edge]) -> usize {
    let graph = Graph::new(edges);
    let is_on_circle = |edge: &&Edge| graph.way(&edge.to, &edge.from).is_some();
    edges.iter().filter(is_on_circle).count()
}

/// The shortest circle through every import that lies on one, each listed once.
pub fn circles(edges: &[Edge]) -> Vec<Circle> {
    let graph = Graph::new(edges);
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for edge in edges {
        let Some(way_back) = graph.way(&edge.to, &edge.from) else {
            continue;
        };
        let mut circle = vec![edge.clone()];
        circle.extend(way_back.into_iter().cloned());
        let first = (0..circle.len()).min_by_key(|at| {
            let file = &circle[*at].from;
            (file.components().count(), file.clone())
        });
        circle.rotate_left(first.unwrap_or(0));
        let files: Vec<PathBuf> = circle.iter().map(|edge| edge.from.clone()).collect();
        if seen.insert(files) {
            circles.push(circle);
        }
    }
    circles.sort_by_key(|circle| (circle[0].from.clone(), circle.len()));
    circles
}

struct Graph<'a> {
    from: BTreeMap<&'a Path, Vec<&'a Edge>>,
}

impl<'a> Graph<'a> {
    fn new(edges: &'a [Edge]) -> Self {
        let mut from: BTreeMap<&Path, Vec<&Edge>> = BTreeMap::new();
        for edge in edges {
            from.entry(&edge.from).or_default().push(edge);
        }
        Self { from }
    }

    /// The shortest way between two files.
    fn way(&self, start: &'a Path, end: &Path) -> Option<Vec<&'a Edge>> {
        let mut reached_by: BTreeMap<&Path, &Edge> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(file) = queue.pop_front() {
            if file == end {
                break;
            }
            for edge in self.from.get(file).into_iter().flatten() {
                if edge.to != start && !reached_by.contains_key(edge.to.as_path()) {
                    reached_by.insert(&edge.to, edge);
                    queue.push_back(&edge.to);
                }
            }
        }
        let mut way = Vec::new();
        let mut file = end;
        while file != start {
            let edge = *reached_by.get(file)?;
            way.push(edge);
            file = &edge.from;
        }
        way.reverse();
        Some(way)
    }
}
