//! Components of a graph that grows point by point, with a running sum per component.

use super::Adjacency;

/// A union-find in which each component has a size and an amount that all its points receive. Amounts are kept
/// at roots, and below them as differences, so that giving to a component costs one addition.
pub(super) struct Forest<'a> {
    adjacency: &'a Adjacency,
    parent: Vec<usize>,
    size: Vec<usize>,
    amount: Vec<f64>,
    present: Vec<bool>,
    roots: Vec<usize>,
}

impl<'a> Forest<'a> {
    pub(super) fn new(adjacency: &'a Adjacency) -> Self {
        let points = adjacency.points();
        Self {
            adjacency,
            parent: (0..points).collect(),
            size: vec![1; points],
            amount: vec![0.0; points],
            present: vec![false; points],
            roots: Vec::new(),
        }
    }

    /// The components that would join if this point came.
    pub(super) fn touched(&self, point: usize) -> Vec<usize> {
        let neighbours = self.adjacency.neighbours(point).iter().filter(|&&other| self.present[other]);
        let mut roots: Vec<usize> = neighbours.map(|&other| self.root(other)).collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    /// Adds a point and joins what it touches; returns the root of its component.
    pub(super) fn add(&mut self, point: usize) -> usize {
        let mut joined = point;
        for root in self.touched(point) {
            let (small, large) =
                if self.size[joined] <= self.size[root] { (joined, root) } else { (root, joined) };
            self.parent[small] = large;
            self.size[large] += self.size[small];
            self.amount[small] -= self.amount[large];
            joined = large;
        }
        self.present[point] = true;
        self.roots.push(point);
        joined
    }

    /// Gives to all points of the component of a root.
    pub(super) fn give(&mut self, root: usize, amount: f64) {
        self.amount[root] += amount;
    }

    pub(super) fn size(&self, root: usize) -> usize {
        self.size[root]
    }

    /// The roots of all components.
    pub(super) fn roots(&mut self) -> Vec<usize> {
        let parent = &self.parent;
        self.roots.retain(|&point| parent[point] == point);
        self.roots.clone()
    }

    pub(super) fn root(&self, mut point: usize) -> usize {
        // Union by size keeps the way short.
        while self.parent[point] != point {
            point = self.parent[point];
        }
        point
    }

    /// What a point received; 0 where it never came.
    pub(super) fn received(&self, mut point: usize) -> f64 {
        let mut sum = self.amount[point];
        while self.parent[point] != point {
            point = self.parent[point];
            sum += self.amount[point];
        }
        sum
    }
}
