//! Which adapters there are: names that come and go, and what they stand for, which never changes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::aliases::{Aliases, Content};
use super::files::{AdapterFiles, Stamp};
use super::load::BaseTensors;
use super::roots::{Roots, Way};
use super::source::Source;
use super::{AdapterId, Generation, HostAdapter};
use crate::error::Error;
use crate::model::Sites;

/// Bytes of a name: what can be loaded can be asked for.
pub use crate::request::NAME_BYTES_MAX;

/// What a catalog is made with.
pub struct CatalogOptions {
    /// Folders that adapters may come from; none for any.
    pub roots: Vec<PathBuf>,
    /// Who sees to it that paths stay inside.
    pub way: Way,
    /// Whether `dummy:` adapters may be asked for.
    pub dummies: bool,
    /// The greatest rank that a linear may be given; none for what the kernels can compute.
    pub rank_max: Option<u32>,
    /// Where adapters can add to the model.
    pub sites: Arc<Sites>,
    /// The model's own tensors.
    pub base: Arc<dyn BaseTensors>,
}

/// Which adapters there are. Clones are the same catalog, for any thread; no lock is held while a file is read.
#[derive(Clone)]
pub struct Catalog {
    shared: Arc<Shared>,
}

struct Shared {
    roots: Roots,
    dummies: bool,
    rank_max: Option<u32>,
    sites: Arc<Sites>,
    base: Arc<dyn BaseTensors>,
    permit: OnceLock<Permit>,
    aliases: Mutex<Aliases>,
}

/// Says whether a generation may be used, or why not. It is asked for every request, so it must be quick, and while the
/// catalog is locked, so it must not ask the catalog.
pub type Permit = Box<dyn Fn(&Generation) -> Result<(), String> + Send + Sync>;

/// What a name has to stand for before it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is.
    Anything,
    /// Nothing: the name is not in use.
    Nothing,
    /// This.
    Generation(Generation),
}

/// What a name stands for now, kept known as long as this lives.
pub struct Resolved {
    /// What to compute with.
    pub id: AdapterId,
    /// What it is; none if it was not read yet.
    pub generation: Option<Generation>,
    /// To be held until the last step that uses the adapter is over.
    pub reference: Reference,
}

/// One user of a content. While it lives, the content stays known, whatever becomes of its names.
pub struct Reference {
    shared: Arc<Shared>,
    id: AdapterId,
}

/// What came of a load.
pub struct Loaded {
    /// What the name stands for.
    pub id: AdapterId,
    /// Its values, as they were read.
    pub adapter: Arc<HostAdapter>,
    /// False if the name stood for it before.
    pub changed: bool,
    /// What the name stood for until now, where that was something else.
    pub before: Option<AdapterId>,
}

/// A name, for people.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub id: AdapterId,
    /// None until it is read.
    pub generation: Option<Generation>,
    /// Where it comes from.
    pub source: Arc<Source>,
    /// Whether it is to stay resident.
    pub pinned: bool,
    /// Requests that use it now.
    pub references: usize,
}

impl Catalog {
    /// A catalog without names.
    pub fn new(options: CatalogOptions) -> Result<Self, Error> {
        let CatalogOptions { roots, way, dummies, rank_max, sites, base } = options;
        let roots = Roots::new(&roots, way)?;
        let aliases = Mutex::new(Aliases::default());
        let permit = OnceLock::new();
        Ok(Self { shared: Arc::new(Shared { roots, dummies, rank_max, sites, base, permit, aliases }) })
    }

    /// From now on a generation is used only where `permit` says so: a name is not let stand for another, and a request
    /// that would begin with another is refused. Requests in flight end as they began. Once set, it stays; to set another is
    /// a bug, and panics.
    pub fn permit(&self, permit: Permit) {
        assert!(self.shared.permit.set(permit).is_ok(), "whoever opened the engine says once what it permits");
    }

    /// Why requests for this generation are refused, where they are.
    pub fn refuses(&self, generation: &Generation) -> Option<String> {
        self.shared.permit.get().and_then(|permit| permit(generation).err())
    }

    /// Makes a name known without reading a tensor: the configuration is read and checked against the model, and the
    /// files are there. The same name from the same source again changes nothing; a name in use for another is an error.
    pub fn register(&self, name: &str, source: &Source) -> Result<AdapterId, Error> {
        check_name(name)?;
        let stamp = self.shared.check(source)?;
        let mut aliases = self.shared.lock();
        let known = aliases.known_at(source).filter(|id| {
            let content = aliases.content(*id).expect("sources lead to what is known");
            content.generation.is_none() || content.was_read_from(source, &stamp)
        });
        if let Some((id, _)) = aliases.find(name) {
            if known == Some(id) {
                return Ok(id);
            }
            return Err(conflict(&aliases, name, Expected::Nothing));
        }
        let source = Arc::new(source.clone());
        let id = match known {
            Some(id) => id,
            None => aliases.add(Arc::clone(&source))?,
        };
        aliases.name(name, id, &source);
        Ok(id)
    }

    /// Reads an adapter and lets a name stand for it, if the name stands for what is expected; requests in flight keep
    /// what they have. A name that stands for the very same content already is left as it is, whatever was expected: so
    /// whoever lost an answer may ask again.
    pub fn load(&self, name: &str, source: &Source, expected: Expected) -> Result<Loaded, Error> {
        check_name(name)?;
        let (adapter, stamp) = self.shared.read(source)?;
        let (adapter, source) = (Arc::new(adapter), Arc::new(source.clone()));
        let generation = adapter.generation;
        let mut aliases = self.shared.lock();
        self.shared.ask(name, &generation)?;
        let current = aliases.find(name).map(|(id, _)| id);
        if let Some(id) = current.filter(|_| aliases.generation_of(name) == Some(generation)) {
            aliases.name(name, id, &source);
            aliases.found_at(id, &source, stamp);
            return Ok(Loaded { id, adapter, changed: false, before: None });
        }
        // A name that was registered for this source is read here for the first time.
        let unread = current.filter(|id| {
            let content = aliases.content(*id).expect("a name stands for what is known");
            content.generation.is_none() && content.is_at(&source)
        });
        if let Some(id) = unread.filter(|_| !matches!(expected, Expected::Generation(_))) {
            aliases.read(id, generation, &source, stamp);
            let (id, _) = aliases.find(name).expect("reading takes no name away");
            return Ok(Loaded { id, adapter, changed: false, before: None });
        }
        expect(&aliases, name, expected)?;
        let known = aliases.known_with(&generation);
        let id = match known {
            Some(id) => id,
            None => aliases.add(Arc::clone(&source))?,
        };
        let before = aliases.name(name, id, &source);
        match known {
            Some(_) => aliases.found_at(id, &source, stamp),
            None => aliases.read(id, generation, &source, stamp),
        }
        Ok(Loaded { id, adapter, changed: true, before })
    }

    /// Takes a name away. New requests do not find it; requests in flight end as they began.
    pub fn unload(&self, name: &str, expected: Expected) -> Result<AdapterId, Error> {
        let mut aliases = self.shared.lock();
        expect(&aliases, name, expected)?;
        aliases.remove(name).ok_or_else(|| unknown(name))
    }

    /// What a name stands for now.
    pub fn resolve(&self, name: &str) -> Result<Resolved, Error> {
        let mut aliases = self.shared.lock();
        let (id, _) = aliases.find(name).ok_or_else(|| unknown(name))?;
        if let Some(generation) = aliases.generation_of(name) {
            self.shared.ask(name, &generation)?;
        }
        Ok(self.refer(&mut aliases, id))
    }

    /// What has this generation, under whatever name.
    pub fn resolve_generation(&self, generation: &Generation) -> Result<Resolved, Error> {
        let mut aliases = self.shared.lock();
        let id = aliases.named_with(generation).ok_or_else(|| unknown(&generation.to_string()))?;
        self.shared.ask(&generation.to_string(), generation)?;
        Ok(self.refer(&mut aliases, id))
    }

    fn refer(&self, aliases: &mut Aliases, id: AdapterId) -> Resolved {
        aliases.reference(id);
        let generation = aliases.content(id).and_then(|content| content.generation);
        Resolved { id, generation, reference: Reference { shared: Arc::clone(&self.shared), id } }
    }

    /// Reads what an id stands for, on whatever thread may wait for it; whoever asks holds a reference meanwhile.
    ///
    /// The first reading fixes the generation. A later one finds the same, or fails: an id never stands for two contents.
    /// Where its names were given to it in several places, each is tried, and the failure of the first is told.
    pub fn read(&self, id: AdapterId) -> Result<Arc<HostAdapter>, Error> {
        let sources = self.shared.lock().content(id).map(Content::sources).ok_or_else(|| gone(id))?;
        let mut failure = None;
        for source in &sources {
            match self.read_at(id, source) {
                Ok(adapter) => return Ok(adapter),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.expect("a content lies somewhere"))
    }

    fn read_at(&self, id: AdapterId, source: &Arc<Source>) -> Result<Arc<HostAdapter>, Error> {
        let (adapter, stamp) = self.shared.read(source)?;
        let mut aliases = self.shared.lock();
        let known = aliases.content(id).ok_or_else(|| gone(id))?.generation;
        match known {
            Some(expected) if expected != adapter.generation => {
                return Err(Error::AdapterChanged { origin: source.to_string(), expected, found: adapter.generation });
            }
            Some(_) => aliases.found_at(id, source, stamp),
            None => {
                self.shared.ask(&source.to_string(), &adapter.generation)?;
                aliases.read(id, adapter.generation, source, stamp);
            }
        }
        Ok(Arc::new(adapter))
    }

    /// What an id stands for; none as long as it was not read.
    pub fn generation(&self, id: AdapterId) -> Option<Generation> {
        self.shared.lock().content(id).and_then(|content| content.generation)
    }

    /// Asks that what a name stands for stays resident, now and after reloads.
    pub fn pin(&self, name: &str) -> Result<(), Error> {
        if self.shared.lock().pin(name, true) { Ok(()) } else { Err(unknown(name)) }
    }

    /// The same, unless too many different adapters would be pinned for so many slots: one stays for all others.
    pub fn pin_within(&self, name: &str, slots: usize) -> Result<(), Error> {
        let mut aliases = self.shared.lock();
        let (id, _) = aliases.find(name).ok_or_else(|| unknown(name))?;
        let pinned = aliases.pinned();
        let count = pinned.len() + usize::from(!pinned.contains(&id));
        if count + 1 > slots {
            let found = format!("{count} different adapters with {slots} slots");
            let allowed = format!("{} at most, so that a slot stays for all others", slots.saturating_sub(1));
            return Err(Error::Request { field: "pin", found, allowed });
        }
        aliases.pin(name, true);
        Ok(())
    }

    /// Takes that back.
    pub fn unpin(&self, name: &str) -> Result<(), Error> {
        if self.shared.lock().pin(name, false) { Ok(()) } else { Err(unknown(name)) }
    }

    /// Whether an id is to stay resident.
    pub fn is_pinned(&self, id: AdapterId) -> bool {
        self.shared.lock().is_pinned(id)
    }

    /// All ids that are to stay resident. A pin moves with its name: by reloads, and where two contents turn out to be one.
    pub fn pinned(&self) -> Vec<AdapterId> {
        self.shared.lock().pinned()
    }

    /// The same, if it may be something else than when this was last asked.
    pub fn take_pinned(&self) -> Option<Vec<AdapterId>> {
        self.shared.lock().take_pinned()
    }

    /// One name.
    pub fn find(&self, name: &str) -> Result<Listed, Error> {
        listed(&self.shared.lock(), name).ok_or_else(|| unknown(name))
    }

    /// All names in order.
    pub fn list(&self) -> Vec<Listed> {
        let aliases = self.shared.lock();
        aliases.names().filter_map(|name| listed(&aliases, name)).collect()
    }

    /// Ids that lost their last name and their last user since this was last asked: what is kept for them can go.
    pub fn take_retired(&self) -> Vec<AdapterId> {
        self.shared.lock().take_retired()
    }
}

impl Reference {
    /// What is referred to.
    pub const fn id(&self) -> AdapterId {
        self.id
    }
}

impl Clone for Reference {
    fn clone(&self) -> Self {
        self.shared.lock().reference(self.id);
        Self { shared: Arc::clone(&self.shared), id: self.id }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.shared.lock().release(self.id);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Aliases> {
        // Nothing panics half-way through a change.
        self.aliases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, name: &str, generation: &Generation) -> Result<(), Error> {
        let Some(permit) = self.permit.get() else { return Ok(()) };
        permit(generation).map_err(|reason| Error::AdapterForbidden {
            name: name.to_owned(),
            generation: *generation,
            reason,
        })
    }

    /// All that can be said of a source without its tensors.
    fn check(&self, source: &Source) -> Result<Option<Stamp>, Error> {
        match self.allow(source)? {
            Source::Folder(folder) => {
                let files = AdapterFiles::open(&self.roots, folder)?;
                self.check_ranks(source, files.config().choose(&self.sites)?.iter().map(|chosen| chosen.rank))?;
                Ok(Some(files.stamp()))
            }
            Source::Dummy(dummy) => {
                let chosen = dummy.config()?.choose(&self.sites)?;
                self.check_ranks(source, chosen.iter().map(|chosen| chosen.rank)).map(|()| None)
            }
        }
    }

    fn check_ranks(&self, source: &Source, ranks: impl Iterator<Item = u32>) -> Result<(), Error> {
        match (ranks.max(), self.rank_max) {
            (Some(found), Some(max)) if found > max => Err(Error::Field {
                path: PathBuf::from(source.to_string()),
                field: "r".to_owned(),
                found: found.to_string(),
                allowed: format!("at most {max}, as the engine was opened"),
            }),
            _ => Ok(()),
        }
    }

    fn read(&self, source: &Source) -> Result<(HostAdapter, Option<Stamp>), Error> {
        if self.rank_max.is_some() {
            self.check(source)?;
        }
        match self.allow(source)? {
            Source::Folder(folder) => {
                let files = AdapterFiles::open(&self.roots, folder)?;
                let stamp = files.stamp();
                Ok((files.load(&self.sites, self.base.as_ref())?, Some(stamp)))
            }
            Source::Dummy(dummy) => Ok((dummy.load(&self.sites)?, None)),
        }
    }

    fn allow<'a>(&self, source: &'a Source) -> Result<&'a Source, Error> {
        if matches!(source, Source::Dummy(_)) && !self.dummies {
            let allowed = "a folder: this engine makes no dummy adapters".to_owned();
            return Err(Error::Request { field: "source", found: format!("{:?}", source.to_string()), allowed });
        }
        Ok(source)
    }
}

/// Whether an adapter can be called so.
pub fn check_name(name: &str) -> Result<(), Error> {
    let fine = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.contains("..")
        && !name.chars().any(char::is_control)
        // Metrics list names between commas.
        && !name.contains(',')
        && name.trim() == name;
    if fine {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    let allowed = format!(
        "1 to {NAME_BYTES_MAX} bytes without commas, control characters, spaces at an end, or two dots in a row"
    );
    Err(Error::Request { field: "name", found: format!("{shown:?}"), allowed })
}

fn unknown(name: &str) -> Error {
    Error::AdapterUnknown { name: name.to_owned() }
}

fn gone(id: AdapterId) -> Error {
    unknown(&format!("number {}", id.0))
}

fn listed(aliases: &Aliases, name: &str) -> Option<Listed> {
    let (id, pinned) = aliases.find(name)?;
    let content = aliases.content(id)?;
    let (generation, source) = (content.generation, aliases.source_of(name)?);
    Some(Listed { name: name.to_owned(), id, generation, source, pinned, references: content.references })
}

/// The compare of compare-and-swap.
fn expect(aliases: &Aliases, name: &str, expected: Expected) -> Result<(), Error> {
    let holds = match expected {
        Expected::Anything => true,
        Expected::Nothing => aliases.find(name).is_none(),
        Expected::Generation(generation) => aliases.generation_of(name) == Some(generation),
    };
    if holds { Ok(()) } else { Err(conflict(aliases, name, expected)) }
}

fn conflict(aliases: &Aliases, name: &str, expected: Expected) -> Error {
    let found = match (aliases.find(name), aliases.generation_of(name)) {
        (None, _) => "nothing".to_owned(),
        (Some(_), None) => "what was not read yet".to_owned(),
        (Some(_), Some(generation)) => generation.to_string(),
    };
    let expected = match expected {
        Expected::Anything => "anything".to_owned(),
        Expected::Nothing => "nothing".to_owned(),
        Expected::Generation(generation) => generation.to_string(),
    };
    Error::AdapterConflict { name: name.to_owned(), expected, found }
}
