//! Keys, notes, checkpoints, proofs and policies: read back as written, and refused once changed.

use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::note::{KeyKind, Note, SigningKey, VerifierKey};
use loam_ledger_core::origin::{LogId, LogName};
use loam_ledger_core::policy::Policy;
use loam_ledger_core::proof::Proof;
use loam_ledger_core::receipt::Receipt;
use loam_ledger_core::{Error, Hash};
use proptest::collection::vec;
use proptest::prelude::*;

use super::world::{Witness, World};
use super::{Change, canonical, tier};

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,8}\\.test(/[a-z0-9-]{1,9}){0,3}", "[!-*,-~\u{e9}\u{4e00}]{1,30}"]
}

fn signing_key() -> impl Strategy<Value = SigningKey> {
    (name(), any::<[u8; 32]>())
        .prop_map(|(name, seed)| SigningKey::from_seed(&name, &seed).expect("the name is one of a key"))
}

fn checkpoint(key: &SigningKey, size: u64, root: [u8; 32]) -> Checkpoint {
    Checkpoint {
        origin: key.verifier().name().to_owned(),
        size,
        root: if size == 0 { Hash::EMPTY_TREE } else { Hash(root) },
    }
}

/// Text that changed bytes still are, or nothing.
fn text(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok()
}

proptest! {
    #![proptest_config(tier::cases())]

    #[test]
    fn keys(key in signing_key(), cosigner in any::<bool>(), changes in Change::some()) {
        let private = key.to_text();
        prop_assert_eq!(SigningKey::parse(&private).unwrap().to_text(), private.clone());
        let kind = if cosigner { KeyKind::CosignatureV1 } else { KeyKind::Ed25519 };
        let public = VerifierKey::new(key.verifier().name(), kind, *key.verifier().public()).unwrap();
        prop_assert_eq!(VerifierKey::parse(&public.to_string()), Ok(public.clone()));
        // Base64 may hold a plus sign too.
        let secret = private.splitn(5, '+').nth(4).expect("a private key has five parts");
        prop_assert!(!format!("{key:?}").contains(secret), "a private key is never shown");
        if let Some(changed) = text(Change::apply_all(&changes, public.to_string().as_bytes())) {
            // The id covers name and key: whatever still parses is the same key.
            prop_assert!(VerifierKey::parse(&changed).is_err() || changed == public.to_string());
        }
        if let Some(changed) = text(Change::apply_all(&changes, private.as_bytes())) {
            prop_assert!(SigningKey::parse(&changed).is_err() || changed == private);
        }
    }

    #[test]
    fn notes(key in signing_key(), lines in vec("[^\\x00-\\x1f]{1,20}", 1..5), changes in Change::some()) {
        let signed = lines.join("\n") + "\n";
        let bytes = key.sign_note(&signed);
        let note = Note::parse(&bytes).unwrap();
        prop_assert_eq!(note.text(), &signed);
        prop_assert_eq!(note.signed_by(key.verifier()), Ok(()));
        let changed = Change::apply_all(&changes, &bytes);
        if let Ok(read) = Note::parse(&changed) {
            let text = read.text().to_owned() + "\n";
            prop_assert!(changed.starts_with(text.as_bytes()));
            prop_assert!(read.signed_by(key.verifier()).is_err() || read == note, "{:?}", read);
        }
    }

    #[test]
    fn checkpoints(key in signing_key(), size in any::<u64>(), root in any::<[u8; 32]>(), changes in Change::some()) {
        let size = if size % 5 == 0 { 0 } else { size };
        let checkpoint = checkpoint(&key, size, root);
        let bytes = checkpoint.sign(&key).unwrap();
        prop_assert_eq!(Checkpoint::open(&bytes, key.verifier()), Ok(checkpoint.clone()));
        let opened = Checkpoint::open(&Change::apply_all(&changes, &bytes), key.verifier());
        prop_assert!(opened.is_err() || opened == Ok(checkpoint.clone()), "{:?}", opened);
        if let Some(changed) = text(Change::apply_all(&changes, checkpoint.to_text().as_bytes())) {
            canonical(changed.as_bytes(), |_| Checkpoint::parse(&changed), |read| read.to_text().into_bytes())?;
        }
    }

    #[test]
    fn proofs(
        extra in prop::option::of(vec(any::<u8>(), 0..100)),
        index in any::<u64>(),
        path in vec(any::<[u8; 32]>().prop_map(Hash), 0..=64),
        checkpoint in vec(any::<u8>(), 0..100),
        changes in Change::some(),
    ) {
        let proof = Proof { extra, index, path, checkpoint };
        let bytes = proof.to_bytes();
        prop_assert_eq!(Proof::parse(&bytes), Ok(proof));
        canonical(&Change::apply_all(&changes, &bytes), Proof::parse, Proof::to_bytes)?;
    }

    #[test]
    fn origins(name in name(), shard in any::<u32>(), changes in Change::some()) {
        let log = if shard == 0 { LogId::Records } else { LogId::Usage(shard) };
        let name = LogName::new(&name, log).unwrap();
        prop_assert_eq!(LogName::parse(&name.to_string()), Ok(name.clone()));
        if let Some(changed) = text(Change::apply_all(&changes, name.to_string().as_bytes())) {
            canonical(changed.as_bytes(), |_| LogName::parse(&changed), |read| read.to_string().into_bytes())?;
        }
    }

    /// A quorum of k of n is met by any k witnesses, and by no k - 1.
    #[test]
    fn quorums(count in 1..6usize, threshold in 1..6usize, cosigning in vec(any::<bool>(), 6)) {
        let threshold = threshold.min(count);
        let witnesses: Vec<Witness> = (0..count).map(|n| Witness::new(&format!("witness.test/{n}"))).collect();
        let names: Vec<String> = (0..count).map(|n| format!("w{n}")).collect();
        let lines = witnesses.iter().zip(&names).map(|(witness, name)| format!("witness {name} {}\n", witness.verifier()));
        let policy = format!("{}group all {threshold} {}\nquorum all\n", lines.collect::<String>(), names.join(" "));
        let policy = Policy::parse(&policy).unwrap();
        let key = SigningKey::from_seed("loam.test/a", &[1; 32]).unwrap();
        let mut note = checkpoint(&key, 0, [0; 32]).sign(&key).unwrap();
        let cosigning: Vec<&Witness> = witnesses.iter().zip(&cosigning).filter(|(_, yes)| **yes).map(|(w, _)| w).collect();
        for witness in &cosigning {
            note = witness.cosign(&note, 1_700_000_000);
        }
        let expected = if cosigning.len() >= threshold {
            Ok(())
        } else {
            Err(Error::Quorum { quorum: "all".to_owned() })
        };
        prop_assert_eq!(policy.check_quorum(&Note::parse(&note).unwrap()), expected);
    }

    /// Nothing that a policy file can hold makes its reader fail but by name.
    #[test]
    fn policies(changes in vec(Change::any(), 0..6)) {
        let witness = |n: u32| Witness::new(&format!("witness.test/{n}")).verifier();
        let policy = format!(
            "# who\nwitness a {}\nwitness b {}\ngroup g 1 a b\nquorum g\n",
            witness(1), witness(2)
        );
        if let Some(changed) = text(Change::apply_all(&changes, policy.as_bytes())) {
            match Policy::parse(&changed) {
                Ok(policy) => prop_assert!(policy.needs_witnesses() || changed.contains("none")),
                Err(Error::Policy { .. }) => {}
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}

#[test]
fn a_receipt_is_read_as_it_was_written() {
    let world = World::new(300);
    let receipt = world.receipt(world.a_completion()).receipt;
    assert_eq!(Receipt::parse(&receipt.to_bytes()), Ok(receipt));
}
