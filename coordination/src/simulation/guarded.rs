//! Work under a guard: read, think, write what follows from it.

use super::{audit::DATA, program::Program};
use crate::Guarded;

/// Reads and writes for a while. What is written names what it follows, so that a lost update is seen.
pub(super) async fn work(program: &Program, guard: Guarded, name: &str) {
    let world = &program.world;
    let key = format!("{DATA}{name}");
    for _ in 0..world.below(4) {
        let Ok(value) = guard.get(key.as_str()).await else { return };
        world.audit().served(&key, guard.token().get());
        if world.chance(70) {
            program.rest(if world.chance(20) { 3_000 } else { 400 }).await;
        }
        let value = value.unwrap_or_default();
        let text = String::from_utf8_lossy(&value);
        let follows = text.split(' ').next().unwrap_or_default();
        let id = format!("{:016x}", world.bits());
        match guard.put(key.as_str(), format!("{id} {follows}")).await {
            Ok(()) if world.audit().was_written(&key, &id) => world.audit().count("acknowledged writes"),
            Ok(()) => world.fail(format_args!("lost write: {id} was acknowledged and never applied")),
            // It may still be applied, so nothing else is based on what was read.
            Err(_) => return,
        }
    }
}
