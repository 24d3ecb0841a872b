use std::time::Duration;

use dina_core::Seed;
use rand::RngExt;

use super::http::Failure;
use super::{DownloadConfig, DownloadError, Event};

/// How often an attempt that brought nothing is repeated, and after how long.
pub(super) struct Patience<'a> {
    config: &'a DownloadConfig,
    name: &'a str,
    url: &'a str,
    /// Attempts that failed since the last one that brought something.
    fruitless: u32,
    attempts: u32,
}

impl<'a> Patience<'a> {
    pub(super) fn new(config: &'a DownloadConfig, name: &'a str, url: &'a str) -> Self {
        Self { config, name, url, fruitless: 0, attempts: 0 }
    }

    /// An attempt brought so much that the next failure counts as the first.
    pub(super) fn progress(&mut self) {
        self.fruitless = 0;
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// When no attempt is left, when none would help, or when the server asks for more patience than is configured.
    pub(super) fn wait(
        &mut self,
        failure: Failure,
        observe: &dyn Fn(&Event<'_>),
    ) -> Result<(), DownloadError> {
        self.attempts += 1;
        let (problem, asked) = match failure {
            Failure::Permanent(problem) => {
                return Err(DownloadError::Refused { name: self.name.into(), url: self.url.into(), problem });
            }
            Failure::Transient { problem, wait } => (problem, wait.unwrap_or_default()),
            Failure::Restart(problem) => (problem, Duration::ZERO),
        };
        let network = |problem: String| DownloadError::Network {
            name: self.name.into(),
            url: self.url.into(),
            attempts: self.attempts,
            problem,
        };
        if self.fruitless >= self.config.retries {
            return Err(network(problem));
        }
        if asked > self.config.longest_wait {
            return Err(network(format!("{problem} and asks to be left alone for {} s", asked.as_secs())));
        }
        let after = self.delay().max(asked);
        self.fruitless += 1;
        observe(&Event::Retry { name: self.name, problem: &problem, after });
        std::thread::sleep(after);
        Ok(())
    }

    /// Doubles from attempt to attempt, up to the longest; between half and all of that, so that many clients that failed
    /// together do not come back together.
    fn delay(&self) -> Duration {
        let doubled = 2u32.saturating_pow(self.fruitless);
        let delay = self.config.first_wait.saturating_mul(doubled).min(self.config.longest_wait);
        let seed = Seed::new(self.config.seed).child(self.name).index(self.attempts as usize);
        delay.mul_f64(seed.stream("backoff").random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_repeatable() {
        let config = DownloadConfig {
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(8),
            ..Default::default()
        };
        let mut patience = Patience::new(&config, "a", "b");
        for (fruitless, full) in [(0, 1.), (1, 2.), (3, 8.), (4, 8.), (4_000, 8.)] {
            patience.fruitless = fruitless;
            let delay = patience.delay().as_secs_f64();
            assert!((0.5 * full..=full).contains(&delay), "{fruitless}: {delay}");
            assert_eq!(delay, patience.delay().as_secs_f64());
        }
        let other = Patience { name: "c", ..Patience::new(&config, "a", "b") };
        assert_ne!(other.delay(), Patience::new(&config, "a", "b").delay());
    }
}
