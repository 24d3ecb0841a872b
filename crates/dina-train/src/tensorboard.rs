//! Event files that TensorBoard reads: records of TensorFlow (`TFRecord`), each an `Event` message of protocol buffers.
//!
//! A record is its length (8 bytes, little endian), a masked CRC-32C of these bytes, the message, and a masked CRC-32C of it
//! (TensorFlow, `tensorflow/core/lib/io/record_writer.h`); the messages are those of `tensorflow/core/util/event.proto` and
//! `tensorflow/core/framework/summary.proto`, of which the fields for scalars are written.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dina_core::{Result, write_atomic};

use crate::LogEntry;

/// Writes the scalars of log entries as an event file of one run: `loss`, `learning_rate`, `gradient_norm` and, where there
/// was a validation, `validation/score` and `validation/top1`, each at its step.
///
/// The log keeps no times, so that equal runs have equal logs: every event carries `time`. Numbers are single precision, as
/// TensorBoard keeps them. The file is written whole or not at all. Several files in a folder are read in the order of their
/// names as one run; [`events_name`] gives names in the order of steps.
///
/// # Errors
/// When the file cannot be written; the message names it.
pub fn write_events(path: impl AsRef<Path>, log: &[LogEntry], time: SystemTime) -> Result<()> {
    // A clock before 1970 is wrong, and no reason to fail.
    let time = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0., |time| time.as_secs_f64());
    let mut bytes = Vec::new();
    record(&mut bytes, &version(time));
    for entry in log {
        record(&mut bytes, &event(time, entry));
    }
    write_atomic(path, |writer| writer.write_all(&bytes))
}

/// Name of an event file whose last step is `step`, in the folder of its run.
pub fn events_name(run: impl AsRef<Path>, step: usize) -> PathBuf {
    run.as_ref().join(format!("events.out.tfevents.{step:010}.dina"))
}

/// The first event of a file.
fn version(time: f64) -> Vec<u8> {
    let mut message = Vec::new();
    double(&mut message, 1, time);
    bytes_field(&mut message, 3, b"brain.Event:2");
    message
}

fn event(time: f64, entry: &LogEntry) -> Vec<u8> {
    let mut scalars =
        vec![("loss", entry.loss), ("learning_rate", entry.rate), ("gradient_norm", entry.gradient_norm)];
    if let Some(found) = entry.validation {
        scalars.extend([("validation/score", found.score), ("validation/top1", found.top1)]);
    }
    let mut summary = Vec::new();
    for (tag, value) in scalars {
        let mut scalar = Vec::new();
        bytes_field(&mut scalar, 1, tag.as_bytes());
        key(&mut scalar, 2, 5);
        scalar.extend((value as f32).to_le_bytes());
        bytes_field(&mut summary, 1, &scalar);
    }
    let mut message = Vec::new();
    double(&mut message, 1, time);
    key(&mut message, 2, 0);
    varint(&mut message, entry.step as u64);
    bytes_field(&mut message, 5, &summary);
    message
}

/// Number and wire type of a field.
fn key(to: &mut Vec<u8>, field: u64, wire: u64) {
    varint(to, field << 3 | wire);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn double(to: &mut Vec<u8>, field: u64, value: f64) {
    key(to, field, 1);
    to.extend(value.to_le_bytes());
}

fn bytes_field(to: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    key(to, field, 2);
    varint(to, bytes.len() as u64);
    to.extend(bytes);
}

fn record(to: &mut Vec<u8>, message: &[u8]) {
    let length = (message.len() as u64).to_le_bytes();
    to.extend(length);
    to.extend(masked_crc(&length).to_le_bytes());
    to.extend(message);
    to.extend(masked_crc(message).to_le_bytes());
}

/// CRC-32C (Castagnoli), rotated and shifted as records keep it.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A log of some hundred lines needs no table.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Evaluation;

    /// What is left to read.
    struct Reader<'a>(&'a [u8]);

    impl<'a> Reader<'a> {
        fn take(&mut self, count: usize) -> &'a [u8] {
            let (taken, rest) = self.0.split_at(count);
            self.0 = rest;
            taken
        }

        fn varint(&mut self) -> u64 {
            let mut value = 0;
            for shift in (0..).step_by(7) {
                let byte = self.take(1)[0];
                value |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            value
        }

        /// Number and content of the next field.
        fn field(&mut self) -> Option<(u64, Vec<u8>)> {
            if self.0.is_empty() {
                return None;
            }
            let key = self.varint();
            let content = match key & 7 {
                0 => self.varint().to_le_bytes().to_vec(),
                1 => self.take(8).to_vec(),
                2 => {
                    let length = self.varint() as usize;
                    self.take(length).to_vec()
                }
                5 => self.take(4).to_vec(),
                other => panic!("wire type {other}"),
            };
            Some((key >> 3, content))
        }

        fn fields(mut self) -> Vec<(u64, Vec<u8>)> {
            std::iter::from_fn(|| self.field()).collect()
        }

        /// The message of the next record; panics where a checksum is wrong.
        fn record(&mut self) -> &'a [u8] {
            let length = self.take(8);
            let check = |bytes: &[u8], crc: &[u8]| assert_eq!(masked_crc(bytes).to_le_bytes(), crc);
            check(length, self.take(4));
            let message = self.take(u64::from_le_bytes(length.try_into().unwrap()) as usize);
            check(message, self.take(4));
            message
        }
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, B.4, and the check value of the catalogue of CRCs.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = events_name(folder.path().join("run"), 300);
        let validation = Some(Evaluation { score: 0.25, top1: 0.125 });
        let entry = |step, validation| LogEntry {
            step,
            rate: 0.001,
            loss: 5.5 - step as f64,
            gradient_norm: 2.,
            validation,
        };
        let log = [entry(1, None), entry(300, validation)];
        write_events(&path, &log, SystemTime::UNIX_EPOCH + Duration::from_millis(1500)).unwrap();
        assert!(path.ends_with("run/events.out.tfevents.0000000300.dina"));
        let bytes = std::fs::read(&path).unwrap();
        let mut reader = Reader(&bytes);
        let time = (1, 1.5_f64.to_le_bytes().to_vec());
        let first = Reader(reader.record()).fields();
        assert_eq!(first, [time.clone(), (3, b"brain.Event:2".to_vec())]);
        for entry in &log {
            let fields = Reader(reader.record()).fields();
            assert_eq!(fields[..2], [time.clone(), (2, (entry.step as u64).to_le_bytes().to_vec())]);
            let values = Reader(&fields[2].1).fields().into_iter().map(|(number, value)| {
                let scalar = Reader(&value).fields();
                assert_eq!((number, scalar[0].0, scalar[1].0), (1, 1, 2));
                let value = f32::from_le_bytes(scalar[1].1[..].try_into().unwrap());
                (String::from_utf8(scalar[0].1.clone()).unwrap(), value)
            });
            let values: Vec<(String, f32)> = values.collect();
            let mut expected = vec![("loss", entry.loss), ("learning_rate", 0.001), ("gradient_norm", 2.)];
            if entry.validation.is_some() {
                expected.extend([("validation/score", 0.25), ("validation/top1", 0.125)]);
            }
            let expected: Vec<_> =
                expected.iter().map(|(tag, value)| (tag.to_string(), *value as f32)).collect();
            assert_eq!(values, expected);
        }
        assert!(reader.0.is_empty());
    }
}
