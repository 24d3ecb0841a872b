use std::io::Read;

use md5::Digest as _;

use crate::manifest::{HexDigest, Md5Sum, Sha256Sum};

/// Both checksums of a stream, while it passes.
#[derive(Clone, Default)]
pub(super) struct Hashes {
    md5: md5::Md5,
    sha256: sha2::Sha256,
    pub(super) bytes: u64,
}

/// Both checksums, and the number of bytes that they are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums {
    pub md5: Md5Sum,
    pub sha256: Sha256Sum,
    pub bytes: u64,
}

impl Hashes {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Takes in a whole stream, and says how far it is.
    pub(super) fn read(&mut self, mut reader: impl Read, mut at: impl FnMut(u64)) -> std::io::Result<()> {
        let mut buffer = vec![0; super::BUFFER];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => self.update(&buffer[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            at(self.bytes);
        }
    }

    pub(super) fn sums(&self) -> Sums {
        let this = self.clone();
        Sums {
            md5: HexDigest(this.md5.finalize().into()),
            sha256: HexDigest(this.sha256.finalize().into()),
            bytes: this.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1321, section A.5, and FIPS 180-2, appendix B.1.
    #[test]
    fn sums_are_those_of_the_standards() {
        let mut hashes = Hashes::default();
        hashes.read(&b"abc"[..], |_| {}).unwrap();
        let sums = hashes.sums();
        assert_eq!(sums.md5.to_string(), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(
            sums.sha256.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(sums.bytes, 3);
    }
}
