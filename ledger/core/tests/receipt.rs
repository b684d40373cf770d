//! Receipts: small at any number of adapters, and refused on the line that says what is wrong.

mod tier;
mod world;

use loam_ledger_core::commitment::What;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::note::{KeyKind, SigningKey, VerifierKey};
use loam_ledger_core::origin::LogId;
use loam_ledger_core::policy::Policy;
use loam_ledger_core::receipt::{Checked, Held, Receipt, Verdict};
use loam_ledger_core::row::Row;
use loam_ledger_core::{Error, Hash};

use tier::times;
use world::{Chance, Received, Request, Witness, World, key};

/// All lines of a check, in order.
const SUBJECTS: [&str; 11] = [
    "checkpoint",
    "witnesses",
    "entry",
    "batch",
    "row",
    "request",
    "nonce",
    "request bytes",
    "output",
    "adapter",
    "tokens",
];

/// The lines up to which a receipt must be sound before the others are looked at.
const PLACE: usize = 5;

fn log_key() -> VerifierKey {
    key(LogId::Usage(1)).verifier().clone()
}

/// A receipt from the middle of a log, of a request with a nonce and two adapters.
fn received() -> Received {
    let world = World::new(300);
    let with_all = |request: &&Request| request.pairs.len() == 2 && request.seed.client_nonce.is_some();
    let request = world.requests.iter().skip(20).find(with_all).expect("some request has all");
    let completions = world.rows_where(|row| row.request() == request.id() && matches!(row, Row::Completion(_)));
    world.receipt(completions[0])
}

/// Refused on exactly these lines, for these reasons.
#[track_caller]
fn check(checked: &Checked, refused: &[(&str, Error)]) {
    let found = checked.lines.iter().filter_map(|line| match &line.verdict {
        Verdict::Refused(error) => Some((line.subject, error.clone())),
        _ => None,
    });
    assert_eq!(found.collect::<Vec<_>>(), refused, "{checked:?}");
    assert_eq!(checked.refused(), refused.first().map(|(subject, error)| (*subject, error)));
    let subjects: Vec<&str> = checked.lines.iter().map(|line| line.subject).collect();
    let unplaced = refused.first().and_then(|(subject, _)| SUBJECTS[..PLACE].iter().position(|s| s == subject));
    // Where the row does not lie in the log, there is nothing to hold the rest against.
    let last = unplaced.filter(|&at| SUBJECTS[at] != "witnesses").map_or(SUBJECTS.len(), |at| at + 1);
    assert_eq!(subjects, SUBJECTS[..last]);
    assert_eq!(checked.found.is_some(), last == SUBJECTS.len());
}

fn not_committed(subject: &'static str) -> Error {
    Error::NotCommitted { subject }
}

#[test]
fn an_honest_receipt_holds_on_every_line() {
    let received = received();
    let bytes = received.receipt.to_bytes();
    assert_eq!(Receipt::parse(&bytes), Ok(received.receipt.clone()));
    let checked = received.receipt.check(&log_key(), &received.held());
    check(&checked, &[]);
    assert!(checked.bound());
    let open = checked.lines.iter().filter(|line| matches!(line.verdict, Verdict::NotHeld(_)));
    assert_eq!(open.map(|line| line.subject).collect::<Vec<_>>(), ["witnesses"]);
    let found = checked.found.expect("the receipt lies in its log");
    assert_eq!(found.row.request, received.request.id());
    assert_eq!(found.checkpoint.size, 300);
}

#[test]
fn a_receipt_held_against_nothing_is_valid_but_bound_to_nothing() {
    let checked = received().receipt.check(&log_key(), &Held::default());
    check(&checked, &[]);
    assert!(!checked.bound());
    let open = checked.lines.iter().filter(|line| matches!(line.verdict, Verdict::NotHeld(_)));
    assert_eq!(open.count(), 6);
}

/// "ok ... took part with weight 0" was said of an adapter to which settlement gives nothing.
#[test]
fn an_adapter_of_weight_0_took_no_part() {
    let world = World::weightless();
    let received = world.receipt(world.a_completion());
    let found = received.receipt.check(&log_key(), &Held::default()).valid().expect("it lies in its log");
    let generation = found.row.pairs[0].generation;
    let held = Held { adapter: Some(&generation), ..received.held() };
    let checked = received.receipt.check(&log_key(), &held);
    check(&checked, &[("adapter", Error::NoPart { generation })]);
    assert_eq!(checked.valid().expect_err("it is refused").0, "adapter");
}

#[test]
fn receipts_are_under_4_kb_at_any_number_of_adapters() {
    for adapters in [1, 128, 1024] {
        let world = World::crowd(adapters);
        let completions = world.rows_where(|row| matches!(row, Row::Completion(_)));
        assert_eq!(completions.len() as u64, adapters);
        for at in [completions[0], completions[completions.len() / 2], completions[completions.len() - 1]] {
            let received = world.receipt(at);
            check(&received.receipt.check(&log_key(), &received.held()), &[]);
            // A log of 2^40 entries has paths of 40 hashes, each a line of 45 bytes.
            let bytes = received.receipt.to_bytes().len() + 45 * (40 - received.receipt.proof.path.len());
            assert!(bytes < 4000, "{adapters} adapters: {bytes} bytes");
        }
    }
}

#[test]
fn what_the_client_holds_is_refused_on_its_own_line() {
    let received = received();
    let (held, nonce, generation) = (received.held(), [6; 32], Hash([6; 32]));
    let other = World::new(300).receipt(World::new(300).a_completion());
    let table: [(Held<'_>, &str, Error); 6] = [
        (Held { nonce: Some(&nonce), ..held }, "nonce", not_committed("this nonce")),
        (Held { request: Some(&other.bytes), ..held }, "request bytes", not_committed("this request")),
        (Held { request: Some(b""), ..held }, "request bytes", not_committed("this request")),
        (Held { output: Some(&other.text), ..held }, "output", not_committed("this output")),
        (Held { adapter: Some(&generation), ..held }, "adapter", not_committed("this adapter")),
        (
            Held { tokens: Some(received.tokens + 1), ..held },
            "tokens",
            not_committed("this number of delivered tokens"),
        ),
    ];
    for (held, subject, error) in table {
        check(&received.receipt.check(&log_key(), &held), &[(subject, error)]);
    }
}

#[test]
fn a_receipt_of_another_client_is_refused_on_every_line_of_ones_own() {
    let mine = received();
    let world = World::new(300);
    let theirs = world.receipt(world.a_completion());
    let refused = [
        ("nonce", not_committed("this nonce")),
        ("request bytes", not_committed("this request")),
        ("output", not_committed("this output")),
        ("tokens", not_committed("this number of delivered tokens")),
    ];
    let held = Held { adapter: None, tokens: Some(1_000), ..mine.held() };
    check(&theirs.receipt.check(&log_key(), &held), &refused);
}

#[test]
fn a_nonce_that_the_request_did_not_carry_is_refused() {
    let world = World::new(300);
    let without = world.requests.iter().find(|r| r.seed.client_nonce.is_none()).expect("every fourth has none");
    let at = world.rows_where(|row| row.request() == without.id() && matches!(row, Row::Completion(_)));
    let received = world.receipt(at[0]);
    check(&received.receipt.check(&log_key(), &received.held()), &[]);
    let held = Held { nonce: Some(&[0; 32]), ..received.held() };
    let refused = [("nonce", not_committed("this nonce"))];
    check(&received.receipt.check(&log_key(), &held), &refused);
}

#[test]
fn another_key_or_policy_is_refused_on_its_own_line() {
    let received = received();
    let records = key(LogId::Records).verifier().clone();
    let impostor = SigningKey::from_seed(log_key().name(), &[9; 32]).unwrap().verifier().clone();
    for other in [records, impostor] {
        let refused = Error::NotSignedBy { key: other.to_string() };
        check(&received.receipt.check(&other, &received.held()), &[("checkpoint", refused)]);
    }
    let cosigner = VerifierKey::new(log_key().name(), KeyKind::CosignatureV1, *log_key().public()).unwrap();
    let refused = Error::KeyKind { kind: 4 };
    check(&received.receipt.check(&cosigner, &received.held()), &[("checkpoint", refused)]);

    let witness = Witness::new("witness.test/one");
    let policy = Policy::parse(&format!("witness one {}\nquorum one\n", witness.verifier())).unwrap();
    let held = Held { policy: Some(&policy), ..received.held() };
    let refused = Error::Quorum { quorum: "one".to_owned() };
    check(&received.receipt.check(&log_key(), &held), &[("witnesses", refused)]);
    let mut cosigned = received.receipt.clone();
    cosigned.proof.checkpoint = witness.cosign(&cosigned.proof.checkpoint, 1_700_000_000);
    check(&cosigned.check(&log_key(), &held), &[]);
}

/// What a forger can change without the log's key, and the line that notices it.
#[test]
fn a_forged_receipt_is_refused_on_the_line_that_says_so() {
    type Forge = fn(&mut Received);
    let randomness = || not_committed("this request's nonce and randomness");
    let table: [(Forge, &[(&str, Error)]); 12] = [
        (|r| r.receipt.proof.index ^= 1, &[("entry", Error::InclusionRoot)]),
        (|r| r.receipt.proof.index = 300, &[("entry", Error::IndexBeyondSize { index: 300, size: 300 })]),
        (|r| r.receipt.proof.path[0].0[0] ^= 1, &[("entry", Error::InclusionRoot)]),
        (|r| r.receipt.proof.path.truncate(5), &[("entry", Error::ProofTooShort)]),
        (|r| r.receipt.proof.path.push(Hash::ZERO), &[("entry", Error::ProofTooLong)]),
        (|r| r.receipt.opening.entry[20] ^= 1, &[("entry", Error::InclusionRoot)]),
        (|r| r.receipt.opening.row[50] ^= 1, &[("row", Error::RowRoot)]),
        (|r| r.receipt.opening.salt[0] ^= 1, &[("row", Error::RowRoot)]),
        (|r| r.receipt.opening.seed.server_random[0] ^= 1, &[("request", randomness())]),
        (
            |r| r.receipt.opening.seed.client_nonce = None,
            &[("request", randomness()), ("nonce", not_committed("this nonce"))],
        ),
        (|r| r.receipt.opening.keys[1][0] ^= 1, &[("request bytes", not_committed("this request"))]),
        (|r| r.receipt.opening.keys[3][0] ^= 1, &[("output", not_committed("this output"))]),
    ];
    for (forge, refused) in table {
        let honest = received();
        let mut forged = honest.clone();
        forge(&mut forged);
        check(&forged.receipt.check(&log_key(), &honest.held()), refused);
    }
}

/// A proof of an honest entry or row that is not the one that a receipt is about.
#[test]
fn a_receipt_of_something_else_is_refused() {
    let world = World::new(300);
    // The usage row before it lies in the same entry.
    let with_usage =
        |&(entry, row): &(usize, usize)| row > 0 && matches!(world.entries[entry].rows[row - 1].row, Row::Usage(_));
    let completions = world.rows_where(|row| matches!(row, Row::Completion(_)));
    let at = completions.into_iter().rfind(with_usage).unwrap();
    let honest = world.receipt(at);
    // A boot entry has no rows at all.
    let boot = world.entries.iter().position(|drafted| matches!(drafted.entry, Entry::Boot(_))).unwrap();
    let mut of_boot = honest.clone();
    let sealed = world.seal();
    of_boot.receipt.opening.entry = sealed.shards[0][boot].bytes.clone();
    of_boot.receipt.proof.index = boot as u64;
    let leaves = sealed.logs(world::Grant::Nothing)[1].leaves();
    let Ok(path) = loam_ledger_core::tree::prove_inclusion(&leaves[..], boot as u64, 300);
    of_boot.receipt.proof.path = path;
    check(&of_boot.receipt.check(&log_key(), &honest.held()), &[("batch", Error::ReceiptEntry)]);
    // A usage row of the same entry, with its own path and salt.
    let mut of_usage = honest.clone();
    let (rows, usage) = (&world.entries[at.0].rows, at.1 - 1);
    let hashes: Vec<Hash> = rows.iter().map(|row| row.leaf()).collect();
    let Ok(path) = loam_ledger_core::tree::prove_inclusion(&hashes[..], usage as u64, rows.len() as u64);
    let opening = &mut of_usage.receipt.opening;
    (opening.row_index, opening.row_path) = (u32::try_from(usage).unwrap(), path);
    (opening.row, opening.salt) = (rows[usage].row.encode(), rows[usage].salt);
    check(&of_usage.receipt.check(&log_key(), &honest.held()), &[("row", Error::ReceiptRow)]);
}

/// Whichever byte of the file is changed: it is no receipt any more, or a line refuses it.
#[test]
fn any_changed_byte_is_refused() {
    let received = received();
    let file = received.receipt.to_bytes();
    let mut chance = Chance(3);
    let places = (0..file.len()).flat_map(|place| std::iter::repeat_n(place, times(1).min(8)));
    for (nth, place) in places.enumerate() {
        let mut changed = file.clone();
        changed[place] ^= if times(1) == 1 { 1 << chance.below(8) } else { 1 << (nth % 8) };
        let Ok(receipt) = Receipt::parse(&changed) else {
            continue;
        };
        assert_eq!(receipt.to_bytes(), changed, "byte {place}: a receipt has one spelling");
        let checked = receipt.check(&log_key(), &received.held());
        if checked.refused().is_none() {
            // The keys of what this client does not hold open nothing here; a line for each would need the thing itself.
            let mut same = receipt.clone();
            for (nth, what) in What::ALL.iter().enumerate() {
                if [What::Tenant, What::Prompt, What::Tokens, What::Sampling].contains(what) {
                    same.opening.keys[nth] = received.request.keys[nth];
                }
            }
            same.proof.extra = Some(same.opening.encode());
            assert_eq!(same, received.receipt, "byte {place} may not be changed unnoticed");
        }
    }
}
