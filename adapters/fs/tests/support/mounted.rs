//! A small filesystem for the length of a test; none, with a notice, where this user may not mount one.

use std::{fs::File, path::Path, process::Command};

use tempfile::TempDir;

/// A mounted filesystem. Dropping it unmounts it.
pub(crate) struct Mounted {
    at: TempDir,
    /// What it lies in, where that is a file.
    _image: Option<TempDir>,
}

impl Mounted {
    /// A filesystem of this kind in memory.
    pub(crate) fn new(kind: &str, options: &str) -> Option<Self> {
        Self::mount(&["-t", kind, "-o", options, kind], None)
    }

    /// An ext4 filesystem with blocks of this size, in a file.
    pub(crate) fn ext4(block_bytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let image = Self::image(directory.path(), 16 << 20, &["-b", &block_bytes.to_string()])?;
        Self::mount(&["-o", "loop", &image], Some(directory))
    }

    /// An ext4 filesystem without a journal that says it has 64 MiB, in a file in `directory`, which may have less room.
    pub(crate) fn ext4_in(directory: &Path) -> Option<Self> {
        let whole = ["-O", "^has_journal", "-E", "lazy_itable_init=0", "-N", "2048"];
        Self::mount(&["-o", "loop", &Self::image(directory, 64 << 20, &whole)?], None)
    }

    fn image(directory: &Path, bytes: u64, options: &[&str]) -> Option<String> {
        let image = directory.join("image");
        File::create(&image).unwrap().set_len(bytes).unwrap();
        let made = Command::new("mkfs.ext4").arg("-q").args(options).arg(&image).output();
        if !made.is_ok_and(|output| output.status.success()) {
            eprintln!("NOTICE: there is no mkfs.ext4 here; its test is not run");
            return None;
        }
        Some(image.to_str().unwrap().to_owned())
    }

    fn mount(arguments: &[&str], image: Option<TempDir>) -> Option<Self> {
        let at = tempfile::tempdir().unwrap();
        let done = Command::new("mount").args(arguments).arg(at.path()).output();
        if !done.is_ok_and(|output| output.status.success()) {
            eprintln!(
                "NOTICE: this user may not mount a filesystem; a test that needs one of its own is not run"
            );
            return None;
        }
        Some(Self { at, _image: image })
    }

    pub(crate) fn path(&self) -> &Path {
        self.at.path()
    }

    pub(crate) fn remount(&self, options: &str) {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(self.path())
            .status()
            .unwrap();
        assert!(done.success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
