//! What a node finds out about a file, read in pieces.

use std::{fs::File, io::Read, path::Path};

use sha2::{Digest, Sha256};

use crate::demo::plan::{Finding, Outcome, hex};

/// Processes the file at `path` below `root`.
pub(super) fn finding(root: &Path, path: &str) -> Finding {
    let outcome = read(&root.join(path)).unwrap_or_else(|error| Outcome::Unreadable(error.to_string()));
    Finding { path: path.to_owned(), outcome }
}

fn read(path: &Path) -> std::io::Result<Outcome> {
    let mut file = File::open(path)?;
    let (mut sha256, mut bytes, mut lines) = (Sha256::new(), 0, 0);
    let mut piece = vec![0; 64 << 10];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        let piece = &piece[..count];
        sha256.update(piece);
        bytes += count as u64;
        lines += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    Ok(Outcome::Read { sha256: hex(&sha256.finalize()), bytes, lines })
}
