use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// Runs a program that prints numbers on its last line, and returns them; `None` where it cannot
/// be started, fails, or prints something else.
pub fn numbers_of(command: &mut Command) -> Option<Vec<f64>> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().last()?.split_whitespace().map(|word| word.parse().ok()).collect()
}

/// A program of `peers/` that stays, and answers every line with a line of JSON: it does one piece of work
/// when it is asked to, so that its runs alternate with ours on the same machine.
pub struct Peer {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts `peers/SCRIPT` with as many threads as this process has.
    ///
    /// # Errors
    /// When the interpreter cannot be started.
    pub fn start(python: &Path, script: &str, arguments: &[&str]) -> Result<Self, Box<dyn Error>> {
        let threads = rayon::current_num_threads().to_string();
        let mut child = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(script))
            .args(arguments)
            .env("OMP_NUM_THREADS", &threads)
            .env("MKL_NUM_THREADS", &threads)
            .env("OPENBLAS_NUM_THREADS", &threads)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}; name an interpreter with --python", python.display()))?;
        let questions = child.stdin.take().ok_or("no input of the peer")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no output of the peer")?);
        Ok(Self { child, questions, answers })
    }

    /// One question, one answer.
    ///
    /// # Errors
    /// When the peer has ended, which it does with a message of its own, or answers something else than JSON.
    pub fn ask(&mut self, question: &str) -> Result<Value, Box<dyn Error>> {
        writeln!(self.questions, "{question}")?;
        self.questions.flush()?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("the peer ended at `{question}`; its message is above").into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// The number of a field of an answer.
    ///
    /// # Errors
    /// As [`Peer::ask`], and when there is no such number.
    pub fn number(&mut self, question: &str, field: &str) -> Result<f64, Box<dyn Error>> {
        let answer = self.ask(question)?;
        answer[field].as_f64().ok_or_else(|| format!("`{question}`: no `{field}` in {answer}").into())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It would wait for another question for ever.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
