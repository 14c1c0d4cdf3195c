//! What the results have to be: computed by the parent alone, straight from the files, before and after the run.
//!
//! On purpose not the code that the nodes use.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::plan::{Outcome, hex};
use crate::failure::Failure;

/// One look at a file. Two that differ in anything tell that it changed in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) content: Option<Content>,
    /// Size, time of the last change, and which file: what a change that is undone still changes.
    stamp: Option<(u64, i64, i64, u64)>,
}

/// A file's content in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    sha256: String,
    bytes: u64,
    lines: u64,
}

impl Content {
    /// Whether a node found the same.
    pub(crate) fn equals(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Read { sha256, bytes, lines } => {
                (sha256, bytes, lines) == (&self.sha256, &self.bytes, &self.lines)
            }
            Outcome::Unreadable(_) => false,
        }
    }
}

/// Looks at every file below `root`, in order.
pub(crate) async fn look_at_all(root: &Path, files: &[String]) -> Result<Vec<Look>, Failure> {
    let paths: Vec<PathBuf> = files.iter().map(|file| root.join(file)).collect();
    let looks = tokio::task::spawn_blocking(move || paths.iter().map(|path| look(path)).collect());
    looks.await.map_err(|error| Failure::machine("the files cannot be looked at", error))
}

fn look(path: &Path) -> Look {
    let Ok(file) = File::open(path) else { return Look { content: None, stamp: None } };
    let stamp = file.metadata().ok().map(|now| (now.size(), now.ctime(), now.ctime_nsec(), now.ino()));
    Look { content: content(file).ok(), stamp }
}

fn content(file: File) -> io::Result<Content> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut all, mut bytes, mut lines) = (Sha256::new(), 0, 0);
    while let Some(length) = Some(reader.fill_buf()?.len()).filter(|length| *length > 0) {
        let buffer = reader.buffer();
        Digest::update(&mut all, buffer);
        lines += buffer.split(|byte| *byte == b'\n').count() as u64 - 1;
        bytes += length as u64;
        reader.consume(length);
    }
    Ok(Content { sha256: hex(&all.finalize()), bytes, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_sees_content_and_every_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert_eq!(look(&path), Look { content: None, stamp: None });
        std::fs::write(&path, "a\nb\nc").unwrap();
        let first = look(&path);
        let outcome = Outcome::Read {
            // printf 'a\nb\nc' | sha256sum
            sha256: "ea7fb08b7a2dc4619ffb7c7bb38d95a2047935fa165d71b12efd3852a2e6d0cc".into(),
            bytes: 5,
            lines: 2,
        };
        let content = first.content.clone().unwrap();
        assert_eq!((content.bytes, content.lines), (5, 2));
        assert!(content.equals(&outcome));
        assert!(!content.equals(&Outcome::Unreadable("x".into())));
        std::fs::write(&path, "a\nb\nd").unwrap();
        assert_ne!(look(&path), first);
    }
}
