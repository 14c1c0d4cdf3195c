//! `leasehold locks`: who holds what, and who waits.

use clap::Args;
use futures_util::{StreamExt, TryStreamExt};
use leasehold::{
    ErrorKind, Store,
    coordination::{
        LeaseState, LeaseView, Leases, Locks, Node,
        locks::{LockView, Participant},
    },
};
use serde_json::{Value, json};

use crate::{
    failure::{Failure, NO},
    output, shared,
    table::{Table, visible},
};

/// How many records are read at a time.
const READS_MAX: usize = 16;

/// `leasehold locks`.
#[derive(Args, Debug)]
#[command(
    after_help = "Shown is what the store knows. A holder that died stays until somebody has waited for its ttl; who \
                        waits without --fair is not in line, and so not known."
)]
pub(crate) struct ShowArguments {
    /// One lock in detail; exits with 1 when nobody ever asked for it
    name: Option<String>,
    /// Also those that nobody holds at the moment
    #[arg(long, conflicts_with = "name")]
    all: bool,
    /// Print one line of JSON for each lock
    #[arg(long)]
    json: bool,
}

pub(crate) async fn show(arguments: ShowArguments, url: String) -> Result<u8, Failure> {
    let onlooker = Onlooker::connect(&shared::open_existing(&url).await?).await?;
    if let Some(name) = &arguments.name {
        let shown = onlooker.look(name).await?.ok_or_else(|| {
            Failure::new(
                NO,
                format!(
                    "nobody ever asked for a lock {name:?}; see what there is with: leasehold locks --all"
                ),
            )
        })?;
        match arguments.json {
            true => output::json(&shown.json())?,
            false => output::write(shown.details().as_bytes())?,
        };
        return Ok(0);
    }
    let mut locks = onlooker.locks(arguments.all);
    if arguments.json {
        while let Some(shown) = locks.try_next().await? {
            if !output::json(&shown.json())? {
                break;
            }
        }
        return Ok(0);
    }
    let mut table = table();
    while let Some(shown) = locks.try_next().await? {
        table.row(shown.row());
    }
    output::write(table.text(output::stdout_colours()).as_bytes())?;
    Ok(0)
}

/// The columns of [`Shown::row`].
pub(crate) fn table() -> Table {
    Table::new(["LOCK", "KIND", "TOKEN", "HELD BY", "IN LINE"])
}

/// One who looks and asks for nothing.
pub(crate) struct Onlooker {
    locks: Locks,
    leases: Leases,
}

impl Onlooker {
    pub(crate) async fn connect(store: &Store) -> Result<Self, Failure> {
        let node = Node::new(shared::this_process())?;
        Ok(Self {
            locks: Locks::connect(store.clone(), node.clone()).lazily().await?,
            leases: Leases::connect(store.clone(), node).await?,
        })
    }

    /// All locks in byte order, or those that somebody holds.
    pub(crate) fn locks(
        &self,
        all: bool,
    ) -> impl futures_util::Stream<Item = Result<Shown, Failure>> + Unpin {
        let looks = self.locks.names().map(move |name| async move { self.look(&name?).await });
        let shown = looks
            .buffered(READS_MAX)
            .try_filter_map(move |shown| async move { Ok(shown.filter(|shown| all || !shown.is_free())) });
        Box::pin(shown)
    }

    /// One lock, or a lease of that name.
    async fn look(&self, name: &str) -> Result<Option<Shown>, Failure> {
        let not_a_lock = match self.locks.observe(name).await {
            Ok(view) => return Ok(view.map(Shown::Lock)),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid) => error,
            Err(error) => return Err(error.into()),
        };
        match self.leases.observe(name).await {
            Ok(view) => Ok(view.map(Shown::Lease)),
            // Neither: the first error knows newer formats of locks.
            Err(_) => Err(not_a_lock.into()),
        }
    }
}

/// A lock as it is shown.
pub(crate) enum Shown {
    Lock(LockView),
    Lease(LeaseView),
}

impl Shown {
    fn is_free(&self) -> bool {
        match self {
            Self::Lock(view) => view.is_free(),
            Self::Lease(view) => view.state != LeaseState::Held,
        }
    }

    fn kind(&self) -> String {
        match self {
            _ if self.is_free() => "free".to_owned(),
            Self::Lease(_) => "lease".to_owned(),
            Self::Lock(view) => match (view.permits, view.holders.first()) {
                (Some(permits), _) => format!("{} of {permits}", view.holders.len()),
                (None, Some(holder)) if holder.shared => "shared".to_owned(),
                (None, _) => "alone".to_owned(),
            },
        }
    }

    pub(crate) fn row(&self) -> [String; 5] {
        match self {
            Self::Lock(view) => {
                let names = |all: &[Participant]| {
                    all.iter().map(|one| one.node.as_str()).collect::<Vec<_>>().join(", ")
                };
                let (held, waiting) = (names(&view.holders), names(&view.queue));
                [view.name.clone(), self.kind(), view.token.to_string(), held, waiting]
            }
            Self::Lease(view) => {
                let holder = if self.is_free() { "" } else { view.holder.name() };
                [view.name.clone(), self.kind(), view.token.to_string(), holder.to_owned(), String::new()]
            }
        }
    }

    /// A few lines about it.
    fn details(&self) -> String {
        let mut lines = vec![match self {
            Self::Lock(view) => {
                format!("{}: {}, last token {}", visible(&view.name), self.kind(), view.token)
            }
            Self::Lease(view) => {
                format!("{}: a lease, {}, last token {}", visible(&view.name), view.state, view.token)
            }
        }];
        if let Self::Lock(view) = self {
            for holder in &view.holders {
                let token = holder.token.map_or_else(String::new, |token| format!(" with token {token}"));
                lines.push(format!("  held by {}{token}", visible(&holder.node)));
            }
            for (position, waiting) in view.queue.iter().enumerate() {
                let how = if waiting.shared { " to share it" } else { "" };
                lines.push(format!("  in line {}: {}{how}", position + 1, visible(&waiting.node)));
            }
        }
        if let Self::Lease(view) = self
            && !self.is_free()
        {
            lines.push(format!("  held by {}", visible(view.holder.name())));
        }
        lines.join("\n") + "\n"
    }

    pub(crate) fn json(&self) -> Value {
        let participant = |one: &Participant| {
            let mut shown = json!({"node": one.node, "owner": one.owner, "shared": one.shared});
            if let Some(token) = one.token {
                shown["token"] = token.get().into();
            }
            shown
        };
        match self {
            Self::Lock(view) => json!({
                "name": view.name,
                "kind": if view.permits.is_some() { "semaphore" } else { "lock" },
                "permits": view.permits,
                "token": view.token.get(),
                "holders": view.holders.iter().map(participant).collect::<Vec<_>>(),
                "waiting": view.queue.iter().map(participant).collect::<Vec<_>>(),
            }),
            Self::Lease(view) => {
                let holder = json!({
                    "node": view.holder.name(),
                    "owner": view.holder.incarnation(),
                    "shared": false,
                    "token": view.token.get(),
                });
                let holders = if self.is_free() { vec![] } else { vec![holder] };
                json!({
                    "name": view.name,
                    "kind": "lease",
                    "permits": null,
                    "token": view.token.get(),
                    "holders": holders,
                    "waiting": [],
                })
            }
        }
    }
}
