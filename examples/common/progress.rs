use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dina_study::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar with rate and time left on a terminal, and a plain line now and then elsewhere.
pub struct Terminal {
    interactive: bool,
    current: Mutex<Option<Current>>,
}

struct Current {
    what: String,
    total: usize,
    bar: Option<ProgressBar>,
    start: Instant,
    last: Instant,
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

impl Progress for Terminal {
    fn begin(&self, what: &str, total: usize) {
        let bar = self.interactive.then(|| {
            let (bar, form) = match total {
                0 => (ProgressBar::new_spinner(), "{msg} {spinner} {elapsed}"),
                _ => (
                    ProgressBar::new(total as u64),
                    "{prefix:20} [{bar:30}] {pos}/{len} {per_sec} {eta} left  {msg}",
                ),
            };
            if let Ok(style) = ProgressStyle::with_template(form) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(what.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            if total == 0 {
                bar.set_message(what.to_owned());
            }
            bar
        });
        if bar.is_none() {
            eprintln!("{what} ...");
        }
        let (start, last) = (Instant::now(), Instant::now());
        self.with(|current| *current = Some(Current { what: what.into(), total, bar, start, last }));
    }

    fn advance(&self, done: usize, note: &str) {
        self.with(|current| {
            let Some(current) = current else { return };
            if let Some(bar) = &current.bar {
                if current.total == 0 {
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
            eprintln!("{}", line(current, done, note));
        });
    }

    fn end(&self) {
        self.with(|current| {
            let Some(current) = current.take() else { return };
            let seconds = current.start.elapsed().as_secs_f64();
            match current.bar {
                Some(bar) => {
                    bar.finish_and_clear();
                    eprintln!("{:20} {seconds:.1} s", current.what);
                }
                None => eprintln!("{} done in {seconds:.1} s", current.what),
            }
        });
    }

    fn say(&self, text: &str) {
        self.with(|current| match current.as_ref().and_then(|current| current.bar.as_ref()) {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        });
    }
}

fn line(current: &Current, done: usize, note: &str) -> String {
    let seconds = current.start.elapsed().as_secs_f64();
    if current.total == 0 || done == 0 {
        return format!("{}: {note} {done}, {seconds:.0} s", current.what);
    }
    let rate = done as f64 / seconds;
    let left = (current.total.saturating_sub(done)) as f64 / rate;
    format!("{}: {done}/{}, {rate:.2}/s, {left:.0} s left, {note}", current.what, current.total)
}
