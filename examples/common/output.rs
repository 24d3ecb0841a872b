use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Prints a line as `println!` does, which panics where it cannot.
///
/// A reader that has gone away, such as `head`, ends the program; standard output on a full disk ends it with an error.
#[macro_export]
macro_rules! out {
    ($($arguments:tt)*) => { $crate::print_line(format_args!($($arguments)*)) };
}

/// Prints a line on standard error as `eprintln!` does, but goes on where it cannot: work is not lost because its log is.
#[macro_export]
macro_rules! note {
    ($($arguments:tt)*) => { $crate::print_note(format_args!($($arguments)*)) };
}

/// What [`out!`] does.
pub fn print_line(line: Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            print_note(format_args!("error: standard output: {error}"));
            std::process::exit(1);
        }
    }
}

/// What [`note!`] does.
pub fn print_note(line: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
