//! Elections from the shell: `elect` runs a command while it leads, `leader` shows who does.

mod elect;
mod leader;

pub(crate) use self::{
    elect::{ElectArguments, elect},
    leader::{LeaderArguments, leader, proclaimed, view_json},
};
