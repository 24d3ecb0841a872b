use crate::source::{Picks, Target};

/// Which variables to read, down to single fields, and how.
///
/// A path names a variable, or with dots a field: `stim.resp`, `stat.redcell` (in a struct array:
/// of every entry). Values inside cells belong to the cell.
///
/// ```
/// use dina_data::mat::Selection;
///
/// let selection = Selection::only(["stim", "stat.redcell"]).single(["stim.resp"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    only: Option<Vec<String>>,
    single: Vec<(String, Picks)>,
}

impl Selection {
    /// Everything in the file.
    pub fn all() -> Self {
        Self::default()
    }

    /// These paths and what lies below them. A path that the file does not have reads nothing.
    pub fn only<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self { only: Some(paths.into_iter().map(Into::into).collect()), single: Vec::new() }
    }

    /// Real numbers at exactly these paths become `f32` while they are read; matrices come in
    /// row-major order (ndarray's standard layout), transposed on the way in.
    #[must_use]
    pub fn single<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.single.extend(paths.into_iter().map(|path| (path.into(), Picks::ALL)));
        self
    }

    /// The same for one matrix, of which only some rows and columns are read.
    #[must_use]
    pub(crate) fn picked(mut self, path: &str, picks: Picks) -> Self {
        self.single.push((path.to_owned(), picks));
        self
    }

    /// Whether anything at or below the path is wanted, or the path lies below a wanted one.
    pub(super) fn wants(&self, path: &str) -> bool {
        let below = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.only
            .as_ref()
            .is_none_or(|only| only.iter().any(|wanted| below(path, wanted) || below(wanted, path)))
    }

    /// What becomes of the real numbers at a path.
    pub(super) fn target(&self, path: &str) -> Target<'_> {
        match self.single.iter().find(|(p, _)| p == path) {
            Some((_, picks)) => Target::Single(picks),
            None => Target::AsStored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_select_themselves_their_parents_and_their_children() {
        let selection = Selection::only(["stim", "stat.redcell"]);
        for path in ["stim", "stim.resp", "stat", "stat.redcell", "stat.redcell.x"] {
            assert!(selection.wants(path), "{path}");
        }
        for path in ["sti", "stimulus", "stat.npix", "stat.redcells", "db"] {
            assert!(!selection.wants(path), "{path}");
        }
        assert!(Selection::all().wants("anything"));
    }
}
