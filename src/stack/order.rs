//! Which layers may stand on which.

use leasehold_core::Result;

use super::{
    at,
    settings::{BatchMode, Setting},
};

/// Orders that cannot be meant: a layer, one that stands below it, and the reason.
const MISTAKES: [(&str, &str, &str); 6] = [
    ("encrypt", "compress", "what is encrypted does not compress: put compress above encrypt"),
    (
        "retry",
        "cache",
        "a hit would be counted as a try, and tries belong to what the cache asks for: put retry below cache",
    ),
    ("timeout", "write-behind", "a caller that does not wait cannot be waited for: put timeout below batch"),
    ("retry", "write-behind", "what is sent later could not be sent again: put retry below batch"),
    ("limit", "cache", "what comes from memory needs no limit: put limit below cache"),
    ("write-behind", "read-only", "nothing could ever be written: take one of them out"),
];

/// Layers that make no sense twice.
const ONCE: [&str; 5] = ["batch", "cache", "compress", "encrypt", "retry"];

pub(super) fn check(layers: &[(usize, Setting)]) -> Result<()> {
    for (position, (line, layer)) in layers.iter().enumerate() {
        for (below_line, below) in &layers[..position] {
            let names = |name: &str, setting: &Setting| name == setting.name() || name == kind(setting);
            let mistake =
                MISTAKES.iter().find(|(upper, lower, _)| names(upper, layer) && names(lower, below));
            if let Some((_, _, reason)) = mistake {
                let message =
                    format!("{} stands on the {} of line {below_line}: {reason}", layer.name(), below.name());
                return Err(at(*line, message));
            }
            if ONCE.contains(&layer.name()) && layer.name() == below.name() {
                let message =
                    format!("there is a {} in line {below_line} already; take one of them out", layer.name());
                return Err(at(*line, message));
            }
        }
    }
    Ok(())
}

/// What a layer is, where its mode matters.
fn kind(setting: &Setting) -> &'static str {
    match setting {
        Setting::Batch(batch) if batch.mode == BatchMode::WriteBehind => "write-behind",
        other => other.name(),
    }
}
