/// Who is told how far a job is. All methods may be called from several threads.
pub trait Progress: Sync {
    /// Work of `total` items begins (0: not known).
    fn begin(&self, what: &str, total: usize);
    /// `done` items of it are done; `note` is a figure worth seeing, or empty.
    fn advance(&self, done: usize, note: &str);
    /// The work that began last is done.
    fn end(&self);
    /// Something that a person should read.
    fn say(&self, text: &str);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: usize) {}
    fn advance(&self, _: usize, _: &str) {}
    fn end(&self) {}
    fn say(&self, _: &str) {}
}
