//! What engines say of their steps: entries and rows, before their hashes are drawn.

use loam_ledger_core::Hash;
use loam_ledger_core::commitment::Key16;
use loam_ledger_core::entry::{Batch, Boot, Entry, Id16, Place, PreviousBoot, Unrowed};
use loam_ledger_core::hash::row_leaf_hash;
use loam_ledger_core::row::{Completion, Pair, Row, Step, Tokens, Usage, WEIGHT_ONE};

use super::requests::Request;
use super::{Chance, bytes16, bytes32};

/// What happened, in the order of the log. Previous hashes, row counts and row roots are drawn when it is sealed.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) entries: Vec<Drafted>,
    pub(crate) requests: Vec<Request>,
}

/// An entry and its rows.
#[derive(Clone, Debug)]
pub(crate) struct Drafted {
    pub(crate) entry: Entry,
    pub(crate) rows: Vec<Salted>,
}

/// A row and its salt.
#[derive(Clone, Debug)]
pub(crate) struct Salted {
    pub(crate) salt: Key16,
    pub(crate) row: Row,
}

impl Salted {
    pub(crate) fn leaf(&self) -> Hash {
        row_leaf_hash(&self.salt, &self.row.encode())
    }
}

impl World {
    /// Two engines that serve a few requests each at a time, stop and crash now and then: this many entries.
    pub(crate) fn new(entries: usize) -> Self {
        Self::of(entries, 2, 40)
    }

    /// The same, with this many engines, each of which boots anew once in `boot_once_in` entries.
    pub(crate) fn of(entries: usize, engines: u64, boot_once_in: u64) -> Self {
        let mut world = Self::default();
        let mut chance = Chance(entries as u64);
        let mut engines: Vec<Engine> = (0..engines).map(Engine::new).collect();
        while world.entries.len() < entries {
            let which = chance.at(engines.len());
            let engine = &mut engines[which];
            let drafted = if engine.boots == 0 || chance.once_in(boot_once_in) {
                engine.boot(&mut chance)
            } else {
                engine.batch(&mut world.requests, &mut chance)
            };
            world.entries.push(drafted);
        }
        world
    }

    /// One engine that boots, and then serves so many requests from beginning to end in its one step, each with an
    /// adapter of its own.
    pub(crate) fn crowd(requests: u64) -> Self {
        Self::weighted(requests, WEIGHT_ONE)
    }

    /// The same of one request, whose adapter has weight 0.
    pub(crate) fn weightless() -> Self {
        Self::weighted(1, 0)
    }

    fn weighted(requests: u64, weight_millionths: i64) -> Self {
        let mut world = Self::default();
        let (mut engine, mut chance) = (Engine::new(0), Chance(requests));
        world.entries.push(engine.boot(&mut chance));
        for number in 0..requests {
            let mut live = Live::new(number, 0, &mut chance);
            (live.prompt_left, live.output_left) = (3, 1);
            world.requests.push(Request {
                pairs: vec![Pair { generation: Hash(bytes32("adapter", number)), weight_millionths }],
                ..Request::new(number)
            });
            engine.live.push(live);
        }
        world.entries.push(engine.step(&world.requests, &mut Chance(requests), false));
        world
    }

    /// The entries' places of all rows for which this holds.
    pub(crate) fn rows_where(&self, holds: impl Fn(&Row) -> bool) -> Vec<(usize, usize)> {
        let entries = self.entries.iter().enumerate();
        let rows = entries.flat_map(|(at, drafted)| drafted.rows.iter().enumerate().map(move |(row, r)| (at, row, r)));
        rows.filter(|(_, _, salted)| holds(&salted.row)).map(|(at, row, _)| (at, row)).collect()
    }

    /// A usage row, to be changed.
    pub(crate) fn usage(&mut self, (entry, row): (usize, usize)) -> &mut Usage {
        match &mut self.entries[entry].rows[row].row {
            Row::Usage(usage) => usage,
            Row::Completion(_) => panic!("row {row} of entry {entry} is a completion row"),
        }
    }

    /// A completion row, to be changed.
    pub(crate) fn completion(&mut self, (entry, row): (usize, usize)) -> &mut Completion {
        match &mut self.entries[entry].rows[row].row {
            Row::Completion(completion) => completion,
            Row::Usage(_) => panic!("row {row} of entry {entry} is a usage row"),
        }
    }

    /// The middle one of the completion rows that count tokens.
    pub(crate) fn a_completion(&self) -> (usize, usize) {
        let all = self.rows_where(|row| matches!(row, Row::Completion(c) if c.tokens.emitted > 0));
        all[all.len() / 2]
    }

    /// A usage row that is not the first of its answer.
    pub(crate) fn a_later_usage(&self) -> (usize, usize) {
        let usages = self.rows_where(|row| matches!(row, Row::Usage(_)));
        let of = |&(entry, row): &(usize, usize)| match &self.entries[entry].rows[row].row {
            Row::Usage(usage) => (usage.request, usage.choice),
            Row::Completion(c) => (c.request, c.choice),
        };
        let later = (1..usages.len()).find(|&at| usages[..at].iter().any(|before| of(before) == of(&usages[at])));
        usages[later.expect("some request has two usage rows")]
    }

    /// A batch entry, to be changed.
    pub(crate) fn batch(&mut self, at: usize) -> &mut Batch {
        match &mut self.entries[at].entry {
            Entry::Batch(batch) => batch,
            _ => panic!("entry {at} is no batch entry"),
        }
    }

    /// A boot entry, to be changed.
    pub(crate) fn boot(&mut self, at: usize) -> &mut Boot {
        match &mut self.entries[at].entry {
            Entry::Boot(boot) => boot,
            _ => panic!("entry {at} is no boot entry"),
        }
    }

    /// The entries' places of boots that know a previous one and for which this holds.
    pub(crate) fn later_boots(&self, holds: impl Fn(&PreviousBoot) -> bool) -> Vec<usize> {
        let boots = self.entries.iter().enumerate().filter(|(_, drafted)| {
            matches!(&drafted.entry, Entry::Boot(Boot { previous: Some(previous), .. }) if holds(previous))
        });
        boots.map(|(at, _)| at).collect()
    }

    /// The entries' places of all batches of the engine to which the first entry belongs.
    pub(crate) fn batches(&self) -> Vec<usize> {
        let engine = |drafted: &Drafted| drafted.entry.place().map(|place| place.engine);
        let batches = self.entries.iter().enumerate().filter(|(_, drafted)| {
            matches!(drafted.entry, Entry::Batch(_)) && engine(drafted) == engine(&self.entries[0])
        });
        batches.map(|(at, _)| at).collect()
    }
}

struct Engine {
    id: Id16,
    boots: u64,
    place: Place,
    time_ms: u64,
    live: Vec<Live>,
    /// What this boot's entries count and rows do not yet.
    unrowed: Unrowed,
}

impl Engine {
    fn new(number: u64) -> Self {
        let id = bytes16("engine", number);
        Self {
            id,
            boots: 0,
            place: Place { engine: id, boot: [0; 16], sequence: 0 },
            time_ms: 1_700_000_000_000,
            live: Vec::new(),
            unrowed: Unrowed::default(),
        }
    }

    fn boot(&mut self, chance: &mut Chance) -> Drafted {
        let previous = (self.boots > 0).then(|| PreviousBoot {
            boot: self.place.boot,
            sequence: self.place.sequence,
            leaf: Hash::ZERO,
            clean: self.unrowed == Unrowed::default() && chance.once_in(2),
            unrowed: self.unrowed,
        });
        let own = u64::from(self.id[0]) << 32;
        self.place.boot = bytes16("boot", own | self.boots);
        self.place.sequence = 0;
        self.boots += 1;
        self.time_ms += chance.below(3);
        self.live.clear();
        self.unrowed = Unrowed::default();
        let entry = Entry::Boot(Boot {
            engine: self.id,
            boot: self.place.boot,
            previous,
            time_ms: self.time_ms,
            base: Hash(bytes32("base", 0)),
            build: Hash(bytes32("build", 0)),
            config: Hash(bytes32("config", self.boots)),
        });
        Drafted { entry, rows: Vec::new() }
    }

    fn batch(&mut self, requests: &mut Vec<Request>, chance: &mut Chance) -> Drafted {
        if self.live.len() < 4 && chance.once_in(2) {
            let number = requests.len() as u64;
            requests.push(Request::new(number));
            let choices = 1 + u32::from(chance.once_in(8));
            self.live.extend((0..choices).map(|choice| Live::new(number, choice, chance)));
        }
        self.step(requests, chance, true)
    }

    /// One step; where `late` is allowed, rows of an answer that ended may come one entry after its last token.
    fn step(&mut self, requests: &[Request], chance: &mut Chance, late: bool) -> Drafted {
        self.place.sequence += 1;
        self.time_ms += chance.below(3);
        let (place, mut rows) = (self.place, Vec::new());
        let (mut prefilled_tokens, mut emitted_tokens) = (0, 0);
        for live in &mut self.live {
            let request = &requests[usize::try_from(live.request).expect("few requests")];
            let (prefilled, emitted) = live.work(place.sequence, chance);
            prefilled_tokens += prefilled;
            emitted_tokens += emitted;
            self.unrowed.prefilled_tokens += prefilled;
            self.unrowed.emitted_tokens += emitted;
            let over = live.is_over() && !(late && live.last == place.sequence && chance.once_in(4));
            if live.pending != Tokens::default() && (over || chance.once_in(3)) {
                self.unrowed.prefilled_tokens -= live.pending.prefilled;
                self.unrowed.emitted_tokens -= live.pending.emitted;
                rows.push(Row::Usage(live.usage(request)));
            }
            if over {
                rows.push(Row::Completion(Box::new(live.completion(request, place))));
                live.ended = true;
            }
        }
        self.live.retain(|live| !live.ended);
        self.unrowed.requests = self.live.iter().filter(|l| l.pending != Tokens::default()).count() as u64;
        let salted = |row| Salted { salt: chance_salt(chance), row };
        let entry = Entry::Batch(Batch {
            place,
            previous: Hash::ZERO,
            time_ms: self.time_ms,
            base: Hash(bytes32("base", 0)),
            build: Hash(bytes32("build", 0)),
            prefilled_tokens,
            emitted_tokens,
            row_count: 0,
            rows_root: Hash::EMPTY_TREE,
            open_requests: self.unrowed.requests,
        });
        Drafted { entry, rows: rows.into_iter().map(salted).collect() }
    }
}

fn chance_salt(chance: &mut Chance) -> Key16 {
    (u128::from(chance.next()) << 64 | u128::from(chance.next())).to_be_bytes()
}

/// One answer of a request, while it runs.
struct Live {
    request: u64,
    choice: u32,
    prompt_left: u64,
    output_left: u64,
    first: u64,
    last: u64,
    /// Where the next usage row begins.
    pending_first: u64,
    pending: Tokens,
    total: Tokens,
    ended: bool,
}

impl Live {
    fn new(request: u64, choice: u32, chance: &mut Chance) -> Self {
        // Some are cancelled before they begin.
        let begins = u64::from(!chance.once_in(16));
        Self {
            request,
            choice,
            prompt_left: begins * (1 + chance.below(40)),
            output_left: begins * (1 + chance.below(12)),
            first: 0,
            last: 0,
            pending_first: 0,
            pending: Tokens::default(),
            total: Tokens::default(),
            ended: false,
        }
    }

    fn is_over(&self) -> bool {
        self.prompt_left == 0 && self.output_left == 0
    }

    /// Works in this step, and says how many tokens it prefilled and emitted.
    fn work(&mut self, sequence: u64, chance: &mut Chance) -> (u64, u64) {
        if self.is_over() {
            return (0, 0);
        }
        let mut tokens = Tokens { prefilled: self.prompt_left.min(16), ..Tokens::default() };
        self.prompt_left -= tokens.prefilled;
        if self.first == 0 {
            tokens.reused = chance.below(3) * 16;
            self.first = sequence;
        }
        if self.prompt_left == 0 {
            tokens.emitted = 1;
            tokens.discarded = chance.below(3);
            self.output_left -= 1;
        }
        tokens.recomputed = u64::from(chance.once_in(20)) * 5;
        if self.pending == Tokens::default() {
            self.pending_first = sequence;
        }
        self.last = sequence;
        let sum = |a: Tokens, b: &Tokens| a.checked_add(b).expect("few tokens");
        (self.pending, self.total) = (sum(self.pending, &tokens), sum(self.total, &tokens));
        (tokens.prefilled, tokens.emitted)
    }

    fn usage(&mut self, request: &Request) -> Usage {
        Usage {
            request: request.id(),
            choice: self.choice,
            pairs: request.pairs.clone(),
            first_sequence: self.pending_first,
            last_sequence: self.last,
            tokens: core::mem::take(&mut self.pending),
        }
    }

    /// An answer that never began ends at the step at which its end was noticed.
    fn completion(&self, request: &Request, place: Place) -> Completion {
        let began = self.total != Tokens::default();
        let step = |sequence| Step { boot: place.boot, sequence: if began { sequence } else { place.sequence } };
        request.completion(self.choice, step(self.first), step(self.last), self.total)
    }
}
