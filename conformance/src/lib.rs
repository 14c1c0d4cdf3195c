//! The promises of Leasehold as a suite that any storage adapter can be run against.
//!
//! - [`cases`] is the table: each [`Case`] has a name, the [`Promise`] it is about, and what must be claimed for it.
//! - A [`Subject`] says what to run against: how to make a fresh store, and further handles on it.
//! - [`run`](run()) runs the table and reports, for people or [for build servers](Report::junit); [`conformance_tests!`] makes one
//!   `#[test]` of each case. [`Options`] say which cases, with how much [`Effort`], and which are left out, and why. From the
//!   shell it is `leasehold conformance URL`.
//! - [`broken`] holds adapters that each break one promise, with the case that must notice.
//! - [`history`] records what concurrent clients saw and decides whether it is linearizable.
//!
//! ```
//! use leasehold_conformance::{Options, Subject, run};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let options = Options::default().only("deleting_an_absent_key_succeeds");
//! let report = run(&Subject::memory(), &options).await;
//! assert!(report.passed(), "{report}");
//! # }
//! ```

pub mod broken;
mod case;
mod cases;
mod content_versions;
mod effort;
pub mod history;
mod junit;
mod macros;
mod race;
mod report;
mod run;
mod subject;
mod trial;
pub mod values;

pub use case::{Case, Promise};
pub use cases::cases;
pub use content_versions::ContentVersions;
pub use effort::Effort;
pub use report::{CaseReport, Counts, Outcome, Report};
pub use run::{Options, run, run_case, run_each, test_case, test_case_with};
pub use subject::{Fixture, Subject};
pub use trial::{Check, Stop, Trial};
