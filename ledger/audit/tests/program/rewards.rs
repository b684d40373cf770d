//! `loam-audit rewards`: money that is as it should be, and each way in which it can be told otherwise.

use loam_ledger_core::epoch::LeafFile;
use loam_ledger_core::epoch::{LeafOf, encode_fees};
use loam_ledger_core::text::hex_encode;

use crate::money::{Lie, Season};
use crate::world::World;

const REWARDS: &[&str] = &["rewards", "all", "--vkey", "records.vkey"];
const PUBLIC: &[&str] = &["rewards", "public", "--vkey", "records.vkey"];

fn with<'a>(arguments: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [arguments, more].concat()
}

fn lying(lie: Lie) -> World {
    Season::new(lie).write()
}

#[test]
fn all_holds() {
    lying(Lie::None).check("rewards", REWARDS);
}

#[test]
fn all_holds_for_programs() {
    lying(Lie::None).check("rewards-json", &with(REWARDS, &["--json"]));
}

#[test]
fn without_rows() {
    lying(Lie::None).check("rewards-public", PUBLIC);
}

#[test]
fn somebody_looks_for_their_own() {
    let season = Season::new(Lie::None);
    let world = season.write();
    for role in ["trainer", "gatherer"] {
        let id = season.town.id(role).to_hex();
        world.check(&format!("rewards-payee-{role}"), &with(REWARDS, &["--payee", &id]));
    }
    let id = season.town.id("gatherer").to_hex();
    world.check("rewards-payee-json", &with(REWARDS, &["--payee", &id, "--json"]));
    world.check("rewards-payee-public", &with(PUBLIC, &["--payee", &id]));
    world.check("rewards-payee-unknown", &with(REWARDS, &["--payee", &"0".repeat(64)]));
}

#[test]
fn a_statement_needs_no_rows() {
    let world = lying(Lie::None);
    let files = ["--statement", "trainer-1", "--statement", "gatherer-1", "--statement", "gatherer-2"];
    world.check("rewards-statements", &with(PUBLIC, &files));
    world.check("rewards-statements-json", &with(PUBLIC, &with(&files, &["--json"])));
}

/// A file that somebody hands out instead of the one that the close commits to.
#[track_caller]
fn refused(session: &str, change: impl FnOnce(&Season, &mut LeafFile)) {
    let season = Season::new(Lie::None);
    let world = season.write();
    let mut file = season.closed[0].file(&season.town, "trainer");
    change(&season, &mut file);
    world.write("statement", &file.encode());
    world.check(session, &with(PUBLIC, &["--statement", "statement"]));
}

#[test]
fn a_statement_of_another_amount() {
    refused("rewards-statement-amount", |_, file| {
        file.proof.as_mut().unwrap().amount += 1;
    });
}

#[test]
fn a_statement_with_other_reasons() {
    refused("rewards-statement-reasons", |season, file| {
        // Lines of the same sum: those of the operator's, but for their sum, would be refused before.
        let id = season.closed[1].id;
        let mut bytes = file.statement.as_ref().unwrap().encode();
        bytes[2] = 4;
        assert_eq!(&bytes[..2], [0x81, 0x83], "one line; its reason is one byte");
        file.statement = Some(loam_ledger_core::epoch::Statement::decode(&bytes).unwrap());
        assert_ne!(file.close, id);
    });
}

#[test]
fn a_statement_whose_lines_sum_to_less() {
    refused("rewards-statement-sum", |_, file| {
        let mut bytes = file.statement.as_ref().unwrap().encode();
        *bytes.last_mut().unwrap() -= 1;
        file.statement = Some(loam_ledger_core::epoch::Statement::decode(&bytes).unwrap());
    });
}

#[test]
fn a_statement_of_another_epoch() {
    refused("rewards-statement-epoch", |season, file| file.close = season.closed[1].id);
}

#[test]
fn a_statement_of_no_epoch() {
    refused("rewards-statement-no-epoch", |_, file| file.close.0[0] ^= 1);
}

#[test]
fn a_maximum_for_a_sum() {
    refused("rewards-statement-maximum", |_, file| {
        let proof = file.proof.as_mut().unwrap();
        let step = proof.path.first_mut().unwrap();
        step.sum = step.sum.max(proof.amount) - step.sum.min(proof.amount);
    });
}

#[test]
fn said_to_have_nothing() {
    refused("rewards-statement-absent", |season, file| {
        // Another's leaf as if no search led to one's own.
        let other =
            season.closed[0].settled.prove(&loam_ledger_core::epoch::Account::Contributor(season.town.id("operator")));
        (file.proof, file.statement) = (other, None);
    });
}

#[test]
fn files_that_are_no_statements() {
    let world = lying(Lie::None);
    world.check("rewards-statement-usage", &with(PUBLIC, &["--statement", "usage"]));
    world.write("short", &std::fs::read(world.path("trainer-1")).unwrap()[..100]);
    world.check("rewards-statement-short", &with(PUBLIC, &["--statement", "short"]));
    world.check("rewards-statement-missing", &with(PUBLIC, &["--statement", "nowhere"]));
    let bytes = std::fs::read(world.path("trainer-1")).unwrap();
    for end in 0..bytes.len() {
        assert!(LeafFile::decode(&bytes[..end]).is_err(), "{end} bytes");
    }
    assert_eq!(LeafFile::decode(&bytes).unwrap().of, LeafOf::Payouts);
}

#[test]
fn one_answer_left_out() {
    lying(Lie::Dropped).check("rewards-dropped", REWARDS);
}

#[test]
fn one_unit() {
    lying(Lie::Unit).check("rewards-unit", REWARDS);
}

#[test]
fn one_unit_of_the_totals() {
    lying(Lie::Totals).check("rewards-totals", REWARDS);
}

#[test]
fn one_unit_of_a_lane() {
    lying(Lie::Lane).check("rewards-lane", REWARDS);
}

#[test]
fn lanes_that_no_policy_makes() {
    lying(Lie::Lanes).check("rewards-lanes-public", PUBLIC);
}

#[test]
fn another_fee() {
    lying(Lie::Fee).check("rewards-fee", REWARDS);
}

#[test]
fn no_policy() {
    lying(Lie::Policy).check("rewards-policy", &with(REWARDS, &["--json"]));
}

#[test]
fn erased_before_and_since() {
    let world = lying(Lie::Erased);
    world.check("rewards-erased-many", REWARDS);
    world.check("rewards-erased", &with(REWARDS, &["--allow-erased"]));
}

#[test]
fn other_erased_rows() {
    lying(Lie::ErasedMore).check("rewards-erased-more", &with(REWARDS, &["--allow-erased"]));
}

#[test]
fn another_fee_of_what_was_erased() {
    lying(Lie::ForgottenFee).check("rewards-forgotten-fee", &with(REWARDS, &["--allow-erased"]));
}

#[test]
fn a_fee_of_what_is_there() {
    lying(Lie::ForgottenNone).check("rewards-forgotten-none", &with(REWARDS, &["--allow-erased"]));
}

#[test]
fn hostile_files() {
    let world = lying(Lie::Erased);
    let arguments = with(REWARDS, &["--allow-erased"]);
    for name in ["erased", "forgotten", "fees"] {
        let path = format!("all/records/epochs/1/{name}");
        let whole = std::fs::read(world.path(&path)).unwrap();
        let wrong: [&[u8]; 4] =
            [&whole[..whole.len() - 1], &[&whole[..], &whole[..]].concat(), b"\xff\xff\x9b", b"\x00\x00"];
        for bytes in wrong {
            world.write(&path, bytes);
            world.write_manifest("all/records");
            let output = world.run(&arguments);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{name} as {}: {text}", hex_encode(bytes));
            // Rows each alone may be alike: one that is told twice is well formed, and divides what nobody paid.
            let told_twice = name == "forgotten" && bytes.len() > whole.len();
            let says = if told_twice {
                "in another way than the rules do"
            } else {
                &format!("malformed fault at records/epochs/1/{name}")
            };
            assert!(text.contains(says), "{text}");
        }
        world.write(&path, &whole);
    }
    world.write("all/records/epochs/1/fees", &encode_fees(&[]).unwrap());
    world.write_manifest("all/records");
    assert_eq!(world.run(&arguments).status.code(), Some(1));
}

#[test]
fn no_ledger() {
    let world = lying(Lie::None);
    world.check("rewards-one-log", &["rewards", "all/usage/1", "--vkey", "records.vkey"]);
    world.check("rewards-nowhere", &["rewards", "nowhere", "--vkey", "records.vkey"]);
}

#[test]
fn a_shard_is_missing() {
    let world = lying(Lie::None);
    std::fs::remove_dir_all(world.path("all/usage/1")).unwrap();
    world.check("rewards-absent", REWARDS);
}

/// For measuring, `LOAM_ANSWERS=1000000 LOAM_LARGE_EXPORT=DIR cargo test --release -p loam-audit many_answers` leaves an
/// export of so many answers there.
#[test]
fn many_answers() {
    let answers = std::env::var("LOAM_ANSWERS").ok().and_then(|number| number.parse().ok()).unwrap_or(5_000);
    let world = Season::new(Lie::None).with_many(answers).write();
    let output = world.run(REWARDS);
    assert_eq!(output.status.code(), Some(0));
    if let Some(kept) = std::env::var_os("LOAM_LARGE_EXPORT") {
        std::fs::rename(world.path(""), kept).unwrap();
    }
}
