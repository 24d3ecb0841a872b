use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dina_study::Progress;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::note;

/// A bar with rate and time left on a terminal, and a plain line now and then elsewhere.
pub struct Terminal {
    interactive: bool,
    current: Mutex<Option<Current>>,
}

struct Current {
    what: String,
    unit: Unit,
    /// What was done before this began: it counts for the rest, and not for the rate.
    from: usize,
    total: usize,
    bar: Option<ProgressBar>,
    start: Instant,
    last: Instant,
}

/// What is counted.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Items,
    Bytes,
}

impl Unit {
    fn bar(self) -> &'static str {
        match self {
            Self::Items => "{prefix:20} [{bar:30}] {pos}/{len} {per_sec} {eta} left  {msg}",
            Self::Bytes => {
                "{prefix:20} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left"
            }
        }
    }

    fn spinner(self) -> &'static str {
        match self {
            Self::Items => "{msg} {spinner} {elapsed}",
            Self::Bytes => "{prefix:20} {spinner} {binary_bytes} {binary_bytes_per_sec}",
        }
    }

    fn show(self, count: usize) -> String {
        match self {
            Self::Items => count.to_string(),
            Self::Bytes => HumanBytes(count as u64).to_string(),
        }
    }

    fn rate(self, rate: f64) -> String {
        match self {
            Self::Items => format!("{rate:.2}/s"),
            Self::Bytes => format!("{}/s", HumanBytes(rate as u64)),
        }
    }
}

/// Time between plain lines.
const EVERY: Duration = Duration::from_secs(10);

impl Default for Terminal {
    fn default() -> Self {
        Self { interactive: std::io::stderr().is_terminal(), current: Mutex::new(None) }
    }
}

impl Terminal {
    fn with(&self, f: impl FnOnce(&mut Option<Current>)) {
        // A thread that panicked while it held the lock is no reason to stop counting.
        f(&mut self.current.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    }
}

impl Terminal {
    /// Begins a stage that counts bytes, `from` of which are there already; a `total` of 0 is not known.
    pub fn begin_bytes(&self, what: &str, from: u64, total: u64) {
        // On a machine that cannot count so far the bar is short, and nothing else.
        let count = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        self.start(what, Unit::Bytes, count(from), count(total));
    }

    fn start(&self, what: &str, unit: Unit, from: usize, total: usize) {
        let bar = self.interactive.then(|| {
            let (bar, form) = match total {
                0 => (ProgressBar::new_spinner(), unit.spinner()),
                _ => (ProgressBar::new(total as u64), unit.bar()),
            };
            if let Ok(style) = ProgressStyle::with_template(form) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(what.to_owned());
            bar.set_position(from as u64);
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_millis(200));
            if total == 0 {
                bar.set_message(what.to_owned());
            }
            bar
        });
        if bar.is_none() {
            match from {
                0 => note!("{what} ..."),
                _ => note!("{what}: continued at {} ...", unit.show(from)),
            }
        }
        let (start, last) = (Instant::now(), Instant::now());
        self.with(|current| {
            // A stage that is begun anew leaves no bar behind.
            if let Some(old) = current.take().and_then(|old| old.bar) {
                old.finish_and_clear();
            }
            *current = Some(Current { what: what.into(), unit, from, total, bar, start, last });
        });
    }
}

impl Progress for Terminal {
    fn begin(&self, what: &str, total: usize) {
        self.start(what, Unit::Items, 0, total);
    }

    fn advance(&self, done: usize, note: &str) {
        self.with(|current| {
            let Some(current) = current else { return };
            if let Some(bar) = &current.bar {
                if current.total == 0 && current.unit == Unit::Items {
                    bar.set_message(format!("{} {note} {done}", current.what));
                } else {
                    bar.set_position(done as u64);
                    bar.set_message(note.to_owned());
                }
                return;
            }
            if current.last.elapsed() < EVERY {
                return;
            }
            current.last = Instant::now();
            note!("{}", line(current, done, note));
        });
    }

    fn end(&self) {
        self.with(|current| {
            let Some(current) = current.take() else { return };
            let seconds = current.start.elapsed().as_secs_f64();
            match current.bar {
                Some(bar) => {
                    bar.finish_and_clear();
                    note!("{:20} {seconds:.1} s", current.what);
                }
                None => note!("{} done in {seconds:.1} s", current.what),
            }
        });
    }

    fn say(&self, text: &str) {
        self.with(|current| match current.as_ref().and_then(|current| current.bar.as_ref()) {
            Some(bar) => bar.println(text),
            None => note!("{text}"),
        });
    }
}

fn line(current: &Current, done: usize, note: &str) -> String {
    let seconds = current.start.elapsed().as_secs_f64();
    let unit = current.unit;
    let fresh = done.saturating_sub(current.from);
    if current.total == 0 || fresh == 0 {
        return format!("{}: {note} {}, {seconds:.0} s", current.what, unit.show(done));
    }
    let rate = fresh as f64 / seconds;
    let left = (current.total.saturating_sub(done)) as f64 / rate;
    let counts = format!("{}/{}", unit.show(done), unit.show(current.total));
    let note = if note.is_empty() { String::new() } else { format!(", {note}") };
    format!("{}: {counts}, {}, {left:.0} s left{note}", current.what, unit.rate(rate))
}
