use std::path::Path;

use crate::{Error, Result};

/// Environment variable that says how much memory a process may take: bytes, or a number with `KiB`, `MiB`, `GiB` or `TiB`
/// (`KB`, `MB`, `GB`, `TB` for powers of ten), such as `12GiB`; `unlimited` asks for no check.
///
/// Without it the system is asked, which works on Linux; elsewhere nothing is known, and nothing refused.
pub const MEMORY_LIMIT: &str = "DINA_MEMORY";

/// Bytes of memory that this process can still take: what [`MEMORY_LIMIT`] allows, else the least of what Linux counts
/// as available, what the control groups of the process leave, and what its address space may grow by. `None` where nobody says.
///
/// # Errors
/// When [`MEMORY_LIMIT`] holds no size.
pub fn available_memory() -> Result<Option<u64>> {
    let Some(limit) = std::env::var_os(MEMORY_LIMIT) else { return Ok(system()) };
    let text = limit.to_string_lossy();
    if text.trim() == "unlimited" {
        return Ok(None);
    }
    let expected = "a size such as 12GiB, or `unlimited`";
    parse_bytes(&text).map(Some).ok_or_else(|| Error::value(MEMORY_LIMIT, expected, format!("`{text}`")))
}

/// Refuses what would take more memory than is [available](available_memory).
///
/// # Errors
/// [`Error::Memory`] with both numbers; as [`available_memory`].
pub fn require_memory(what: impl Into<String>, needed: u64, remedy: &str) -> Result<()> {
    match available_memory()? {
        Some(available) if needed > available => Err(Error::Memory {
            what: what.into(),
            needed,
            available,
            remedy: format!("{remedy}, or say with {MEMORY_LIMIT} how much may be taken"),
        }),
        _ => Ok(()),
    }
}

/// A size for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} bytes");
    }
    let mut value = count as f64 / 1024.;
    let mut unit = 0;
    while value >= 1024. && unit + 1 < UNITS.len() {
        value /= 1024.;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "tib" | "t" => 1 << 40,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    let value = number.parse::<f64>().ok()? * factor as f64;
    // Beyond 2^53 bytes a limit limits nothing.
    (1. ..9e15).contains(&value).then_some(value as u64)
}

/// What Linux says.
fn system() -> Option<u64> {
    let free = kibibytes(&read("/proc/meminfo")?, "MemAvailable:");
    [free, groups(), address_space()].into_iter().flatten().min()
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// A line such as `MemAvailable:  1234 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// What the soft limit of the address space (`ulimit -v`) leaves.
fn address_space() -> Option<u64> {
    let limits = read("/proc/self/limits")?;
    let rest = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: u64 = rest.split_whitespace().next()?.parse().ok()?;
    Some(limit.saturating_sub(kibibytes(&read("/proc/self/status")?, "VmSize:")?))
}

/// What the control groups leave, of version 1 and 2, each with those that it is in.
fn groups() -> Option<u64> {
    let root = Path::new("/sys/fs/cgroup");
    let groups = read("/proc/self/cgroup")?;
    let of_line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/').to_owned());
        match controllers {
            "" => of_group(root, &path, "memory.max", "memory.current", "inactive_file"),
            names if names.split(',').any(|name| name == "memory") => of_group(
                &root.join("memory"),
                &path,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            ),
            _ => None,
        }
    };
    groups.lines().filter_map(of_line).min()
}

/// The least that a group and those above it leave. Cached pages of files are given back when they are needed.
fn of_group(root: &Path, path: &str, limit: &str, usage: &str, cached: &str) -> Option<u64> {
    let number = |path: &Path| read(path)?.trim().parse::<u64>().ok();
    let folder = root.join(path);
    // In a container the names may be those of the machine outside; the root is then the group itself.
    let here = folder.ancestors().take_while(|folder| folder.starts_with(root));
    here.filter_map(|folder| {
        // `max` is no number.
        let limit = number(&folder.join(limit))?;
        let stat = read(folder.join("memory.stat")).unwrap_or_default();
        let cache = stat.lines().find_map(|line| {
            let (name, value) = line.split_once(' ')?;
            (name == cached).then(|| value.trim().parse::<u64>().ok())?
        });
        let taken = number(&folder.join(usage))?.saturating_sub(cache.unwrap_or(0));
        Some(limit.saturating_sub(taken))
    })
    .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_printed() {
        for (text, size) in
            [("1024", 1024), ("12GiB", 12 << 30), (" 1.5 gib", 3 << 29), ("500MB", 500_000_000), ("2k", 2048)]
        {
            assert_eq!(parse_bytes(text), Some(size), "{text}");
        }
        for wrong in ["", "GiB", "0", "-1", "nan", "1e400", "5 apples", "99999999TiB"] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
        assert_eq!(bytes(1000), "1000 bytes");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        // Nothing takes that much, and one byte is always there.
        let Some(available) = available_memory().unwrap() else { return };
        assert!(available > 1 << 20);
        assert!(require_memory("a byte", 1, "nothing").is_ok());
        let error = require_memory("an ocean", 1 << 60, "take less").unwrap_err().to_string();
        assert!(error.starts_with("an ocean would take about 1024.0 PiB of memory, and "), "{error}");
        assert!(error.contains("take less") && error.contains(MEMORY_LIMIT), "{error}");
    }

    #[test]
    fn the_least_of_a_group_and_those_above_counts() {
        let root = std::env::temp_dir().join(format!("dina-groups-{}", std::process::id()));
        let inner = root.join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        let write = |folder: &Path, name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        let found = || of_group(&root, "a/b", "memory.max", "memory.current", "inactive_file");
        write(&inner, "memory.max", "max\n");
        assert_eq!(found(), None);
        write(&root.join("a"), "memory.max", "1000\n");
        write(&root.join("a"), "memory.current", "700\n");
        assert_eq!(found(), Some(300));
        write(&root.join("a"), "memory.stat", "anon 400\ninactive_file 250\nactive_file 50\n");
        assert_eq!(found(), Some(550));
        write(&inner, "memory.max", "600");
        write(&inner, "memory.current", "500");
        assert_eq!(found(), Some(100));
        // A path of the machine outside, which is not there inside of a container.
        assert_eq!(
            of_group(&root.join("a"), "gone/x", "memory.max", "memory.current", "inactive_file"),
            Some(550)
        );
        std::fs::remove_dir_all(&root).unwrap();
    }
}
