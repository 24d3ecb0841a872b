use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::DownloadError;

/// The environment variable that overrides the folder of the cache.
pub const DATA_DIR_VARIABLE: &str = "DINA_DATA_DIR";

/// The folder below which every deposit has its own: `DINA_DATA_DIR`; else the platform's place for caches, which is
/// `XDG_CACHE_HOME/dina` or `~/.cache/dina`, on macOS `~/Library/Caches/dina`, on Windows `LOCALAPPDATA\dina`.
///
/// # Errors
/// [`DownloadError::NoFolder`] where neither the variable nor a home folder is set.
pub fn cache_dir() -> Result<PathBuf, DownloadError> {
    let platform = if cfg!(windows) {
        Platform::Windows
    } else if cfg!(target_os = "macos") {
        Platform::MacOs
    } else {
        Platform::Xdg
    };
    folder(platform, std::env::home_dir(), &|name| std::env::var_os(name))
}

#[derive(Clone, Copy)]
enum Platform {
    Xdg,
    MacOs,
    Windows,
}

fn folder(
    platform: Platform,
    home: Option<PathBuf>,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, DownloadError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = set(DATA_DIR_VARIABLE) {
        return Ok(folder);
    }
    // The convention says that a relative path in these variables is to be ignored.
    let absolute = |name: &str| set(name).filter(|path| path.is_absolute());
    let in_home = |parts: &[&str]| {
        home.as_ref()
            .filter(|home| !home.as_os_str().is_empty())
            .map(|home| parts.iter().fold(home.clone(), |path, part| path.join(part)))
    };
    let caches = match platform {
        Platform::Xdg => absolute("XDG_CACHE_HOME").or_else(|| in_home(&[".cache"])),
        Platform::MacOs => in_home(&["Library", "Caches"]),
        Platform::Windows => set("LOCALAPPDATA").or_else(|| in_home(&["AppData", "Local"])),
    };
    caches
        .map(|caches| caches.join(Path::new("dina")))
        .ok_or_else(|| DownloadError::NoFolder { problem: "neither a cache nor a home folder is set".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(platform: Platform, home: Option<&str>, variables: &[(&str, &str)]) -> Option<PathBuf> {
        folder(platform, home.map(PathBuf::from), &|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        })
        .ok()
    }

    #[test]
    fn each_platform_has_its_convention() {
        let xdg = |home, variables: &[(&str, &str)]| find(Platform::Xdg, home, variables);
        assert_eq!(xdg(Some("/home/a"), &[]), Some("/home/a/.cache/dina".into()));
        assert_eq!(xdg(Some("/home/a"), &[("XDG_CACHE_HOME", "/fast")]), Some("/fast/dina".into()));
        assert_eq!(
            xdg(Some("/home/a"), &[("XDG_CACHE_HOME", "relative")]),
            Some("/home/a/.cache/dina".into())
        );
        assert_eq!(find(Platform::MacOs, Some("/Users/a"), &[]), Some("/Users/a/Library/Caches/dina".into()));
        assert_eq!(find(Platform::Windows, None, &[("LOCALAPPDATA", "/local")]), Some("/local/dina".into()));
        assert_eq!(find(Platform::Windows, Some("/a"), &[]), Some("/a/AppData/Local/dina".into()));
    }

    #[test]
    fn the_variable_comes_first_and_nothing_is_made_up() {
        let set = [("DINA_DATA_DIR", "/lab/data"), ("XDG_CACHE_HOME", "/fast")];
        assert_eq!(find(Platform::Xdg, Some("/home/a"), &set), Some("/lab/data".into()));
        assert_eq!(
            find(Platform::Xdg, Some("/home/a"), &[("DINA_DATA_DIR", "")]),
            Some("/home/a/.cache/dina".into())
        );
        assert_eq!(find(Platform::Xdg, None, &[]), None);
    }
}
