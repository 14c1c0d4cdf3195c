//! Ranges of ids: taken, divided, given back; the same id never twice.

use std::fmt;

use leasehold_core::{Error, ErrorKind, Key, Result, Store};
use serde::{Deserialize, Serialize};

use super::{
    PREFIX,
    pool::Pool,
    range::{IdRange, Part},
};
use crate::{
    certify,
    node::check_name,
    register::{Next, Register, State},
};

/// Ids given out in ranges: a host takes a thousand for one write, and uses them without asking anybody.
///
/// # What it promises
/// No id is given out twice while it is out: not to two hosts, not when replies are lost, not when a range is given
/// back twice or divided and then given back. What is lost with its host, or given back in the moment of a crash, is a gap.
///
/// Each range has a receipt. What becomes of a range is decided once and for ever, by a record that is only ever created:
/// it was divided, or it came back. These records stay; a range that is used up needs none.
///
/// ```
/// # use leasehold_coordination::Ids;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> leasehold_core::Result<()> {
/// # let store = leasehold_core::Store::new(leasehold_memory::Memory::new());
/// let ids = Ids::connect(store, "orders").await?;
/// let range = ids.take(1000).await?;
/// let mut parts = ids.divide(range, 2).await?; // for two descendants
/// let mut mine = parts.pop().expect("two parts");
/// assert_eq!(mine.next(), Some(500));
/// ids.give_back(mine).await?; // what was not used
/// # Ok(()) }
/// ```
///
/// Kept under `_cluster/ids/<name>/`: one record for what is free, one for each range that was divided or came back.
pub struct Ids {
    store: Store,
    name: String,
    pool: Register<Pool>,
}

/// What became of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fate {
    #[default]
    Open,
    Divided {
        into: Vec<Part>,
    },
    GivenBack {
        start: u64,
        end: u64,
    },
}

impl Fate {
    /// Decides it, unless somebody has.
    ///
    /// # Errors
    /// What was decided before, in a word or two.
    pub(crate) fn decide(&mut self, fate: &Self) -> Result<(), &'static str> {
        match self {
            Self::Open => fate.clone_into(self),
            Self::Divided { .. } => return Err("divided"),
            Self::GivenBack { .. } => return Err("given back"),
        }
        Ok(())
    }
}

impl State for Fate {
    const KIND: &'static str = "id-range";

    fn check(&self) -> Result<(), &'static str> {
        if *self == Self::Open { Err("it decides nothing") } else { Ok(()) }
    }
}

impl Ids {
    /// The ids `name` in `store`; they begin at 0. The store is certified first, as for [`Leases`](crate::Leases).
    /// `name` is one segment of a key of up to 128 bytes.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for an unsound name; otherwise as [`Leases::connect`](crate::Leases::connect).
    pub async fn connect(store: Store, name: impl AsRef<str> + Send) -> Result<Self> {
        let name = name.as_ref().to_owned();
        check_name("a sequence of ids", &name)?;
        if name.contains('/') {
            return Err(Error::invalid(format!(
                "{name:?} is not a sequence of ids: it is one segment, without \"/\""
            )));
        }
        certify::certify(&store).await?;
        let pool = Register::new(store.clone(), Key::new(format!("{PREFIX}/ids/{name}/pool"))?);
        Ok(Self { store, name, pool })
    }

    /// Takes `count` ids in a row. Costs one conditional put when this handle changed the pool last; one read more
    /// otherwise.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for 0, [`Full`](ErrorKind::Full) when there are none left,
    /// [`Conflict`](ErrorKind::Conflict) when others changed the pool a hundred times meanwhile; what the store fails with
    /// when that lasts. With [`is_indeterminate`](Error::is_indeterminate): they may be taken, and are a gap then.
    ///
    /// # Cancel safety
    /// The ids may be taken, and are a gap then.
    pub async fn take(&self, count: u64) -> Result<IdRange> {
        let piece = self.pool.change(|pool| pool.take(count).map(Next::Write)).await?;
        Ok(IdRange::new(piece, self.store.environment().identifier()))
    }

    /// Divides what is left of a range into `parts` for descendants, as evenly as can be. Costs one conditional put and,
    /// when the range was seen before, one read.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for more parts than ids, and for a range that was divided or given back already;
    /// what the store fails with when that lasts: the range may be divided then, and is a gap.
    ///
    /// # Cancel safety
    /// The range may be divided, and is a gap then.
    pub async fn divide(&self, range: IdRange, parts: u32) -> Result<Vec<IdRange>> {
        let into = range.cut(parts, || self.store.environment().identifier())?;
        self.decide(&range, &Fate::Divided { into: into.clone() }).await?;
        Ok(into.into_iter().map(|part| IdRange::new((part.start, part.end), part.receipt)).collect())
    }

    /// Gives back what is left of a range. Costs two conditional puts and a read; nothing when nothing is left.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a range that was divided or given back already, or is of another sequence; what
    /// the store fails with when that lasts: what was left may be a gap then.
    ///
    /// # Cancel safety
    /// What was left may or may not have come back; if not, it is a gap.
    pub async fn give_back(&self, range: IdRange) -> Result<()> {
        let (start, end) = range.left();
        if start == end {
            return Ok(());
        }
        self.decide(&range, &Fate::GivenBack { start, end }).await?;
        self.pool.change(|pool| pool.put_back((start, end)).map(Next::Write)).await
    }

    /// Decides what becomes of a range, if nobody has.
    async fn decide(&self, range: &IdRange, fate: &Fate) -> Result<()> {
        let key = Key::new(format!("{PREFIX}/ids/{}/ranges/{}", self.name, range.receipt()))?;
        let register = Register::new(self.store.clone(), key);
        let decided = register.change(|standing: &mut Fate| match standing.decide(fate) {
            Ok(()) => Ok(Next::Write(())),
            Err(decided) => Err(over(range, decided)),
        });
        decided.await
    }
}

fn over(range: &IdRange, what: &str) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("the ids {} to {} were {what} already; use each range once", range.start(), range.end()),
    )
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ids({:?} in {})", self.name, self.store)
    }
}
