//! The child's end of the pipes.

use std::{
    env,
    io::{self, BufRead, Write},
    path::PathBuf,
};

pub(crate) const ROLE: &str = "LEASEHOLD_TEST_ROLE";
pub(crate) const DIRECTORY: &str = "LEASEHOLD_TEST_DIRECTORY";
/// Before every line that is meant for the parent: the test harness writes to the same pipe.
pub(crate) const MARK: &str = "@ ";

pub(crate) fn role() -> Option<(String, PathBuf)> {
    Some((env::var(ROLE).ok()?, env::var_os(DIRECTORY)?.into()))
}

/// Tells the parent a line, in one write.
pub(crate) fn tell(text: &str) {
    let mut out = io::stdout().lock();
    let written = out.write_all(format!("\n{MARK}{text}\n").as_bytes()).and_then(|()| out.flush());
    written.expect("the parent reads");
}

/// The next line from the parent; `None` when it has closed the pipe.
pub(crate) fn hear() -> Option<String> {
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim_end().to_owned()),
    }
}
