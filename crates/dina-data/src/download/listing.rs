use std::io::Read;

use serde::Deserialize;

use super::http::{Client, Failure, read_failure};
use super::retry::Patience;
use super::{DownloadConfig, DownloadError, Event};
use crate::manifest::{FileName, MAX_FILE_BYTES, Md5Sum};

/// The longest answer that is read: a listing of ten thousand files is a few megabytes.
const LONGEST: u64 = 16 << 20;
/// Files a page. Deposits send ten unless they are asked for more, and no more than this.
const PAGE: usize = 1000;
/// Pages that are asked for: a deposit that never ends is refused.
const PAGES: usize = 100;

/// One file, as the deposit lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub name: FileName,
    pub id: u64,
    pub url: String,
    pub size: u64,
    pub md5: Option<Md5Sum>,
}

/// An element of the answer of figshare's `articles/ID/files`. Keys that we do not use are ignored: the service adds some.
#[derive(Deserialize)]
struct Element {
    id: u64,
    name: String,
    size: u64,
    download_url: String,
    #[serde(default)]
    is_link_only: bool,
    #[serde(default)]
    computed_md5: Option<String>,
    #[serde(default)]
    supplied_md5: Option<String>,
}

/// Asks a deposit for its files.
pub(super) fn ask(
    client: &Client,
    config: &DownloadConfig,
    url: &str,
    observe: &dyn Fn(&Event<'_>),
) -> Result<Vec<Listed>, DownloadError> {
    let address = client.address(url)?;
    observe(&Event::Listing { url: &address });
    let mut files: Vec<Listed> = Vec::new();
    for page in 1..=PAGES {
        let paged = fetch(client, config, &format!("{address}?page={page}&page_size={PAGE}"), observe);
        let text = match paged {
            // A mirror of saved answers may know no pages.
            Err(DownloadError::Refused { .. }) if page == 1 => fetch(client, config, &address, observe)?,
            other => other?,
        };
        let found = read(&address, &text)?;
        let full = found.len() >= PAGE;
        // A server that ignores the number of the page sends the same one again.
        let news =
            found.into_iter().filter(|new| !files.iter().any(|old| old.id == new.id)).collect::<Vec<_>>();
        let ended = news.is_empty() || !full;
        files.extend(news);
        if ended {
            return Ok(files);
        }
    }
    Err(DownloadError::Listing { url: address, problem: format!("has more than {PAGES} pages") })
}

fn fetch(
    client: &Client,
    config: &DownloadConfig,
    url: &str,
    observe: &dyn Fn(&Event<'_>),
) -> Result<Vec<u8>, DownloadError> {
    let mut patience = Patience::new(config, "listing", url);
    loop {
        match attempt(client, url) {
            Ok(text) => return Ok(text),
            Err(failure) => patience.wait(failure, observe)?,
        }
    }
}

fn attempt(client: &Client, url: &str) -> Result<Vec<u8>, Failure> {
    let answer = client.get(url, None)?;
    let mut text = Vec::new();
    answer.body.take(LONGEST + 1).read_to_end(&mut text).map_err(read_failure)?;
    match text.len() as u64 > LONGEST {
        true => Err(Failure::Permanent(format!("sends a listing of more than {LONGEST} bytes"))),
        false => Ok(text),
    }
}

/// Reads an answer. One name that is not safe refuses the whole of it.
fn read(url: &str, text: &[u8]) -> Result<Vec<Listed>, DownloadError> {
    let wrong = |problem: String| DownloadError::Listing { url: url.to_owned(), problem };
    let elements: Vec<Element> = serde_json::from_slice(text)
        .map_err(|error| wrong(format!("is not the JSON that was expected ({error})")))?;
    let secure = url.starts_with("https://");
    let files = elements.into_iter().filter(|element| !element.is_link_only);
    files.map(|element| element.check(secure).map_err(wrong)).collect()
}

impl Element {
    /// `secure`: the listing came over https, and what it lists has to.
    fn check(self, secure: bool) -> Result<Listed, String> {
        let name = FileName::new(self.name).map_err(|error| format!("has a file whose name {error}"))?;
        if self.size > MAX_FILE_BYTES {
            return Err(format!("declares {} bytes for {name}, more than {MAX_FILE_BYTES}", self.size));
        }
        let url = &self.download_url;
        if !(url.starts_with("https://") || (!secure && url.starts_with("http://"))) {
            return Err(format!("gives {:?} as the address of {name}", self.download_url));
        }
        // Empty where the deposit has not computed it yet.
        let stated = |text: Option<String>| text.filter(|text| !text.is_empty());
        let md5 = stated(self.computed_md5).or(stated(self.supplied_md5));
        let md5 =
            md5.map(|text| text.parse()).transpose().map_err(|error| format!("MD5 of {name} {error}"))?;
        Ok(Listed { name, id: self.id, url: self.download_url, size: self.size, md5 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn element(name: &str) -> serde_json::Value {
        json!({
            "id": 7, "name": name, "size": 3, "download_url": "https://data.example.org/files/7", "is_link_only": false,
            "computed_md5": "900150983cd24fb0d6963f7d28e17f72", "supplied_md5": "", "mimetype": "application/x-matlab-data"
        })
    }

    #[test]
    fn an_answer_is_read_and_links_are_left_out() {
        let mut link = element("elsewhere");
        link["is_link_only"] = true.into();
        let mut bare = element("bare.mat");
        bare["computed_md5"] = serde_json::Value::Null;
        let text = json!([element("a.mat"), link, bare]).to_string();
        let files = read("u", text.as_bytes()).unwrap();
        assert_eq!(files.len(), 2);
        assert_eq!((files[0].name.as_str(), files[0].id, files[0].size), ("a.mat", 7, 3));
        assert_eq!(files[0].md5.unwrap().to_string(), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(files[1].md5, None);
    }

    #[test]
    fn what_is_listed_over_https_is_fetched_over_https() {
        let mut plain = element("a.mat");
        plain["download_url"] = "http://data.example.org/files/7".into();
        let text = json!([plain]).to_string();
        assert!(read("http://mirror", text.as_bytes()).is_ok());
        assert!(read("https://mirror", text.as_bytes()).is_err());
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_named() {
        let with = |key: &str, value: serde_json::Value| {
            let mut element = element("a.mat");
            element[key] = value;
            read("u", json!([element]).to_string().as_bytes()).unwrap_err().to_string()
        };
        for (key, value, says) in [
            ("name", json!("../a.mat"), "../a.mat"),
            ("name", json!("/a.mat"), "absolute"),
            ("size", json!(u64::MAX), "bytes for a.mat"),
            ("size", json!(-1), "JSON"),
            ("download_url", json!("file:///etc/passwd"), "address of a.mat"),
            ("computed_md5", json!("abc"), "32 hexadecimal digits"),
        ] {
            let error = with(key, value);
            assert!(error.contains(says), "{error}");
        }
        for broken in ["", "{}", "[1]", "<html>", "[{\"id\": 7"] {
            assert!(read("u", broken.as_bytes()).is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn no_listing_panics_or_escapes(name in "\\PC{0,12}", escape in any::<bool>(), noise in any::<Vec<u8>>()) {
            let name = if escape { format!("x/../../{name}") } else { name };
            let _ = read("u", &noise);
            let read = read("u", json!([element(&name)]).to_string().as_bytes());
            prop_assert!(!(escape && read.is_ok()));
            if let Ok(files) = read {
                let folder = std::path::Path::new("folder");
                let path = files[0].name.below(folder);
                prop_assert!(path.starts_with(folder) && path != folder);
                let plain = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
                prop_assert!(path.components().all(plain));
            }
        }
    }
}
