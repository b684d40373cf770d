//! What an export tells of erased rows, and leaf files: refused by name, wherever they are not in their one form.

use loam_ledger_core::epoch::{
    ErasedRows, LeafFile, RowPlace, decode_fees, decode_mixes, decode_rows, encode_fees, encode_mixes, encode_rows,
};
use loam_ledger_core::row::Pair;
use loam_ledger_core::sum_tree::SumProof;
use loam_ledger_core::{Error, Hash};

fn rows(generation: u8, fee_nano: u64) -> ErasedRows {
    ErasedRows {
        pairs: vec![Pair { generation: Hash([generation; 32]), weight_millionths: 1 }],
        policy: Hash([0x9d; 32]),
        emitted_tokens: 7,
        delivered_tokens: 6,
        fee_nano,
    }
}

fn place(index: u64) -> RowPlace {
    RowPlace { shard: 1, index, row: 0 }
}

#[test]
fn mixes_are_ascending_and_each_once() {
    let good = [rows(1, 5), rows(2, 5)];
    let bytes = encode_mixes(&good).unwrap();
    assert_eq!(decode_mixes(&bytes).unwrap(), good);
    assert_eq!(decode_mixes(&[]).unwrap(), []);
    assert_eq!(encode_mixes(&[rows(2, 5), rows(1, 5)]), Err(Error::ListOrder));
    assert_eq!(encode_mixes(&[rows(1, 5), rows(1, 5)]), Err(Error::ListOrder));
    // One mix in two parts says the same sums by other items.
    assert_eq!(encode_mixes(&[rows(1, 5), rows(1, 6)]), Err(Error::ListOrder));
    // Rows each alone may be alike.
    let alike = [rows(1, 5), rows(1, 5), rows(1, 6)];
    assert_eq!(decode_rows(&encode_rows(&alike).unwrap()).unwrap(), alike);
    assert_eq!(encode_rows(&[rows(1, 6), rows(1, 5)]), Err(Error::ListOrder));
    for end in (1..bytes.len()).filter(|end| *end != bytes.len() / 2) {
        assert!(decode_mixes(&bytes[..end]).is_err(), "{end} bytes");
    }
    assert_eq!(decode_mixes(b"\xff\xff\xa5"), Err(Error::BundleShort));
}

#[test]
fn fees_are_ascending_and_each_once() {
    let good = [(place(1), 5), (place(2), 0)];
    let bytes = encode_fees(&good).unwrap();
    assert_eq!((bytes.len(), decode_fees(&bytes).unwrap()), (48, good.to_vec()));
    assert_eq!(encode_fees(&[(place(2), 5), (place(1), 5)]), Err(Error::ListOrder));
    assert_eq!(encode_fees(&[(place(1), 5), (place(1), 6)]), Err(Error::ListOrder));
    assert_eq!(decode_fees(&bytes[..47]), Err(Error::BundleShort));
}

#[test]
fn leaf_files_have_one_form() {
    let proof = SumProof { key: place(1).key().to_vec(), value: Hash([1; 32]), amount: 5, path: Vec::new() };
    let file = LeafFile::usage(Hash([2; 32]), &place(1), Some(proof));
    let bytes = file.encode();
    assert_eq!(LeafFile::decode(&bytes), Ok(file.clone()));
    let of = |change: &dyn Fn(&mut LeafFile)| {
        let mut changed = file.clone();
        change(&mut changed);
        LeafFile::decode(&changed.encode())
    };
    assert_eq!(of(&|file| file.sought.truncate(15)), Err(Error::SumKey));
    // A receipt holder has no statement.
    let statement = Err(Error::RecordFields { what: "a leaf file" });
    assert_eq!(of(&|file| file.statement = Some(Default::default())), statement);
    let mut version = bytes.clone();
    version[2] = 2;
    assert_eq!(LeafFile::decode(&version), Err(Error::Version { what: "leaf file", version: 2 }));
    assert!(LeafFile::decode(&[&bytes[..], &[0]].concat()).is_err());
}
