use ndarray::{Array2, Axis};

/// Which of something are wanted, in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// What is read: ascending, each once.
    pub sorted: Vec<usize>,
    /// Places among these, in the order that was asked for; `None` where it is the same.
    order: Option<Vec<usize>>,
}

impl Choice {
    pub fn of(asked: &[usize]) -> Self {
        let mut sorted = asked.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let order = (sorted != asked)
            .then(|| asked.iter().map(|pick| sorted.partition_point(|other| other < pick)).collect());
        Self { sorted, order }
    }

    /// Brings rows (axis 0) or columns (axis 1) that were read into the order that was asked for.
    pub fn arrange(&self, values: Array2<f32>, axis: usize) -> Array2<f32> {
        match &self.order {
            None => values,
            Some(order) => values.select(Axis(axis), order),
        }
    }

    /// The same of a list.
    pub fn arrange_list<T: Clone>(&self, values: Vec<T>) -> Vec<T> {
        match &self.order {
            None => values,
            Some(order) => order.iter().map(|&at| values[at].clone()).collect(),
        }
    }

    /// Takes those that are wanted from a list of all, where it has them.
    pub fn take<T: Clone>(&self, all: &[T]) -> Option<Vec<T>> {
        let picked: Option<Vec<T>> = self.sorted.iter().map(|&at| all.get(at).cloned()).collect();
        picked.map(|picked| self.arrange_list(picked))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn any_order_comes_back() {
        let choice = Choice::of(&[4, 1, 4]);
        assert_eq!(choice.sorted, [1, 4]);
        assert_eq!(choice.take(&['a', 'b', 'c', 'd', 'e']), Some(vec!['e', 'b', 'e']));
        assert_eq!(choice.take(&['a', 'b']), None);
        assert_eq!(choice.arrange(array![[1.0, 4.0]], 1), array![[4.0, 1.0, 4.0]]);
        assert_eq!(Choice::of(&[0, 2]).order, None);
    }
}
