use std::collections::BTreeMap;
use std::error::Error;
use std::str::FromStr;

/// Flags of a bench, of the form `--name value`, or `--name` alone for a switch.
pub struct Flags(BTreeMap<String, String>);

impl Flags {
    /// The flags of this process, which have to be among `known`, or among `switches`, which take no value.
    ///
    /// # Errors
    /// When there is another one, or a value is missing.
    pub fn parse(known: &[&str], switches: &[&str]) -> Result<Self, Box<dyn Error>> {
        let mut flags = BTreeMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                // Cargo says so to every bench.
                "--bench" => {}
                name if switches.contains(&name) => {
                    flags.insert(word, String::new());
                }
                name if known.contains(&name) => {
                    let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
                    flags.insert(word, value);
                }
                other => {
                    return Err(format!("no flag `{other}`; there are {known:?} and {switches:?}").into());
                }
            }
        }
        Ok(Self(flags))
    }

    /// A number, or what it is where the flag is not given.
    ///
    /// # Errors
    /// When it is no number.
    pub fn number<T: FromStr>(&self, name: &str, otherwise: T) -> Result<T, Box<dyn Error>> {
        match self.0.get(name) {
            None => Ok(otherwise),
            Some(text) => text.parse().map_err(|_| format!("{name}: `{text}` is not such a number").into()),
        }
    }

    /// The text of a flag, where it is given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}
