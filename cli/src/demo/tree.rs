//! The files of a real directory tree, up to a bound, and what was left out and why.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// Directories that are left out unless they are asked for: bulky, and changing under a running build.
const BULKY: [&str; 3] = [".git", "node_modules", "target"];
/// Where counting ends: the rest of a larger tree is left out as one item.
const ENTRIES_MAX: usize = 1_000_000;

/// How much of a tree to take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) files_max: usize,
    pub(crate) bytes_max: u64,
    /// Also the bulky directories.
    pub(crate) all: bool,
}

/// What was taken.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Paths below the root, shallow ones first.
    pub(crate) files: Vec<String>,
    pub(crate) bytes: u64,
    /// Why something was left out: how often, and the first example.
    pub(crate) left_out: BTreeMap<&'static str, (usize, String)>,
}

impl Tree {
    /// Walks `root` breadth first, in the order of names. Symbolic links are not followed.
    pub(crate) fn walk(root: &Path, bounds: Bounds) -> Result<Self, Failure> {
        let refuse =
            |error: io::Error| Failure::usage(format!("{root:?} cannot be read: {error}; name a directory"));
        if !fs::metadata(root).map_err(refuse)?.is_dir() {
            return Err(Failure::usage(format!("{root:?} is not a directory; name one")));
        }
        let mut tree = Self::default();
        let mut entries_seen = 0;
        let mut directories = VecDeque::from([PathBuf::new()]);
        while let Some(directory) = directories.pop_front() {
            let mut entries = match children(&root.join(&directory)) {
                Ok(entries) => entries,
                Err(error) if directory.as_os_str().is_empty() => return Err(refuse(error)),
                Err(_) => {
                    tree.leave_out("unreadable directories", &directory);
                    continue;
                }
            };
            if entries.iter().any(|entry| entry.file_name() == ".leasehold") {
                tree.leave_out("stores, whose files change under the demo", &directory);
                continue;
            }
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                entries_seen += 1;
                if entries_seen > ENTRIES_MAX {
                    tree.leave_out("everything past a million entries", &directory);
                    return Ok(tree);
                }
                tree.consider(&entry, directory.join(entry.file_name()), bounds, &mut directories);
            }
        }
        Ok(tree)
    }

    fn consider(
        &mut self,
        entry: &fs::DirEntry,
        path: PathBuf,
        bounds: Bounds,
        directories: &mut VecDeque<PathBuf>,
    ) {
        let Ok(metadata) = entry.metadata() else { return self.leave_out("files that went away", &path) };
        if metadata.is_dir() {
            let bulky = entry.file_name().to_str().is_some_and(|name| BULKY.contains(&name));
            return match bulky && !bounds.all {
                true => self.leave_out("of .git, node_modules and target (--all takes them in)", &path),
                false => directories.push_back(path),
            };
        }
        if metadata.is_symlink() {
            return self.leave_out("symbolic links", &path);
        }
        // Before opening: opening a pipe would wait for its writer.
        if !metadata.is_file() {
            return self.leave_out("pipes, sockets and devices", &path);
        }
        let Some(text) = path.to_str() else { return self.leave_out("names that are not UTF-8", &path) };
        if self.files.len() >= bounds.files_max {
            return self.leave_out("files past --files-max", &path);
        }
        if self.bytes.saturating_add(metadata.len()) > bounds.bytes_max {
            return self.leave_out("files past --bytes-max", &path);
        }
        if File::open(entry.path()).is_err() {
            return self.leave_out("unreadable files", &path);
        }
        self.bytes += metadata.len();
        self.files.push(text.to_owned());
    }

    fn leave_out(&mut self, reason: &'static str, path: &Path) {
        self.left_out.entry(reason).or_insert_with(|| (0, path.display().to_string())).0 += 1;
    }

    /// How much was left out.
    pub(crate) fn left_out_count(&self) -> usize {
        self.left_out.values().map(|(count, _)| count).sum()
    }
}

fn children(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    fs::read_dir(directory)?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(files_max: usize, bytes_max: u64) -> Bounds {
        Bounds { files_max, bytes_max, all: false }
    }

    #[test]
    fn what_is_left_out_is_counted_with_its_reason() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for directory in ["a", "target"] {
            fs::create_dir(at(directory)).unwrap();
        }
        for (path, content) in [("one", "1"), ("a/two", "22"), ("a/three", "333"), ("target/x", "x")] {
            fs::write(at(path), content).unwrap();
        }
        std::os::unix::fs::symlink("one", at("link")).unwrap();

        let tree = Tree::walk(root.path(), bounds(10, 100)).unwrap();
        assert_eq!(tree.files, ["one", "a/three", "a/two"]);
        assert_eq!(tree.bytes, 6);
        assert_eq!(tree.left_out_count(), 2);
        assert_eq!(tree.left_out["symbolic links"], (1, "link".to_owned()));

        let tree = Tree::walk(root.path(), bounds(2, 100)).unwrap();
        assert_eq!(tree.left_out["files past --files-max"], (1, "a/two".to_owned()));
        let tree = Tree::walk(root.path(), bounds(10, 3)).unwrap();
        assert_eq!(tree.files, ["one", "a/two"]);
        assert_eq!(tree.left_out["files past --bytes-max"], (1, "a/three".to_owned()));
    }
}
