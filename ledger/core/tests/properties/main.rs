//! What holds of every tree, tile, record and note, tried on random ones.

mod notes;
mod records;
#[path = "../tier/mod.rs"]
mod tier;
mod tiles;
mod tree;
#[path = "../world/mod.rs"]
mod world;

use proptest::prelude::*;

/// One change to some bytes.
#[derive(Clone, Debug)]
enum Change {
    Flip(usize, u8),
    Set(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Truncate(usize),
    Append(Vec<u8>),
}

impl Change {
    /// Any change; where it falls is taken within the length that the bytes turn out to have.
    fn any() -> impl Strategy<Value = Self> {
        let (place, byte) = (any::<usize>, any::<u8>);
        prop_oneof![
            4 => (place(), 0..8u8).prop_map(|(place, bit)| Self::Flip(place, bit)),
            4 => (place(), byte()).prop_map(|(place, byte)| Self::Set(place, byte)),
            2 => (place(), byte()).prop_map(|(place, byte)| Self::Insert(place, byte)),
            2 => place().prop_map(Self::Remove),
            1 => place().prop_map(Self::Truncate),
            1 => proptest::collection::vec(byte(), 1..4).prop_map(Self::Append),
        ]
    }

    /// One to three of them.
    fn some() -> impl Strategy<Value = Vec<Self>> {
        proptest::collection::vec(Self::any(), 1..4)
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |place: usize| place % bytes.len().max(1);
        match *self {
            Self::Insert(place, byte) => bytes.insert(place % (bytes.len() + 1), byte),
            Self::Append(ref more) => bytes.extend_from_slice(more),
            _ if bytes.is_empty() => {}
            Self::Flip(place, bit) => {
                let at = at(place);
                bytes[at] ^= 1 << bit;
            }
            Self::Set(place, byte) => {
                let at = at(place);
                bytes[at] = byte;
            }
            Self::Remove(place) => drop(bytes.drain(at(place)..=at(place))),
            Self::Truncate(place) => bytes.truncate(at(place)),
        }
    }

    fn apply_all(changes: &[Self], bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        changes.iter().for_each(|change| change.apply(&mut bytes));
        bytes
    }
}

/// Reads changed bytes: whoever accepts them must have understood every byte, and so writes the same ones again.
fn canonical<T, E>(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<T, E>,
    write: impl Fn(&T) -> Vec<u8>,
) -> Result<(), TestCaseError> {
    if let Ok(value) = read(bytes) {
        prop_assert_eq!(write(&value), bytes);
    }
    Ok(())
}
