//! Which points of a map are neighbours.

use crate::{Error, Result};

/// The neighbours of a point of a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbourhood {
    /// Those that share an edge.
    Four,
    /// Those that share an edge or a corner.
    Eight,
}

/// Which points are neighbours: an undirected graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjacency {
    /// Where the neighbours of each point start.
    starts: Vec<usize>,
    neighbours: Vec<usize>,
}

impl Adjacency {
    /// Points in a line, such as samples in time.
    ///
    /// # Errors
    /// [`Error::TooFew`] without points.
    pub fn chain(points: usize) -> Result<Self> {
        let edges: Vec<[usize; 2]> = (1..points).map(|i| [i - 1, i]).collect();
        Self::from_edges(points, &edges)
    }

    /// A grid in row-major order, such as a map of a receptive field.
    ///
    /// # Errors
    /// [`Error::TooFew`] without points.
    pub fn grid(rows: usize, columns: usize, neighbourhood: Neighbourhood) -> Result<Self> {
        let mut edges = Vec::new();
        for row in 0..rows {
            for column in 0..columns {
                let point = row * columns + column;
                let (right, below) = (column + 1 < columns, row + 1 < rows);
                if right {
                    edges.push([point, point + 1]);
                }
                if below {
                    edges.push([point, point + columns]);
                }
                if neighbourhood == Neighbourhood::Eight && below {
                    if right {
                        edges.push([point, point + columns + 1]);
                    }
                    if column > 0 {
                        edges.push([point, point + columns - 1]);
                    }
                }
            }
        }
        Self::from_edges(rows * columns, &edges)
    }

    /// Any graph, from pairs of neighbours.
    ///
    /// # Errors
    /// [`Error::TooFew`] without points, [`Error::Shape`] for a pair that names a point that is not there.
    pub fn from_edges(points: usize, edges: &[[usize; 2]]) -> Result<Self> {
        Error::at_least("points", 1, points)?;
        if let Some(edge) = edges.iter().find(|edge| edge.iter().any(|&point| point >= points)) {
            return Err(Error::shape("neighbours", format!("points below {points}"), edge));
        }
        let mut lists = vec![Vec::new(); points];
        for &[a, b] in edges {
            lists[a].push(b);
            lists[b].push(a);
        }
        let mut starts = vec![0];
        for list in &lists {
            starts.push(starts[starts.len() - 1] + list.len());
        }
        Ok(Self { starts, neighbours: lists.concat() })
    }

    /// Number of points.
    pub fn points(&self) -> usize {
        self.starts.len() - 1
    }

    /// The neighbours of a point.
    pub fn neighbours(&self, point: usize) -> &[usize] {
        &self.neighbours[self.starts[point]..self.starts[point + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(adjacency: &Adjacency, point: usize) -> Vec<usize> {
        let mut neighbours = adjacency.neighbours(point).to_vec();
        neighbours.sort_unstable();
        neighbours
    }

    #[test]
    fn neighbours_by_hand() {
        let chain = Adjacency::chain(4).unwrap();
        assert_eq!((sorted(&chain, 0), sorted(&chain, 2)), (vec![1], vec![1, 3]));
        // 0 1 2
        // 3 4 5
        let four = Adjacency::grid(2, 3, Neighbourhood::Four).unwrap();
        assert_eq!((sorted(&four, 1), sorted(&four, 3)), (vec![0, 2, 4], vec![0, 4]));
        let eight = Adjacency::grid(2, 3, Neighbourhood::Eight).unwrap();
        assert_eq!((sorted(&eight, 1), sorted(&eight, 5)), (vec![0, 2, 3, 4, 5], vec![1, 2, 4]));
        assert!(Adjacency::from_edges(2, &[[0, 2]]).is_err());
        assert!(Adjacency::grid(0, 3, Neighbourhood::Four).is_err());
    }
}
