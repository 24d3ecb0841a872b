use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A checksum of N bytes, written in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct HexDigest<const N: usize>(pub [u8; N]);

/// An MD5: good against accidents, which is what it is used for, and not against forgery.
pub type Md5Sum = HexDigest<16>;

/// A SHA-256.
pub type Sha256Sum = HexDigest<32>;

impl<const N: usize> FromStr for HexDigest<N> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("is {text:?}, expected {} hexadecimal digits", 2 * N);
        if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; N];
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl<const N: usize> fmt::Display for HexDigest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for HexDigest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HexDigest({self})")
    }
}

impl<const N: usize> From<HexDigest<N>> for String {
    fn from(digest: HexDigest<N>) -> Self {
        digest.to_string()
    }
}

impl<const N: usize> TryFrom<String> for HexDigest<N> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
