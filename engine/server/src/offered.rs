//! An offer of a record as messages: over the network, and on a paper that goes from hand to hand until all have signed.

use loam_ledger::{Offer, Payload};
use loam_ledger_core::Hash;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::record::{Operation, Record};
use loam_proto::v1;
use loam_wire::Problem;

/// What a contributor signs who asks for their own statement, and the type of it.
pub(crate) const STATEMENT_REQUEST: &str = "application/vnd.loam.statement-request.v1";

/// The payload of that.
pub(crate) fn statement_request(origin: &str, epoch: u32, time_s: u64, contributor: &Hash) -> Vec<u8> {
    [origin.as_bytes(), &epoch.to_be_bytes(), &time_s.to_be_bytes(), &contributor.0].concat()
}

/// Bytes of operations and rows that one message has, about: a server takes 4 MiB.
const PIECE_BYTES: usize = 1 << 20;

/// An offer in messages of about a mebibyte.
pub(crate) fn messages(offer: Offer) -> impl Iterator<Item = v1::OfferRequest> {
    let Offer { body, signed, operations, payloads, text } = offer;
    let payload = |payload: Payload| v1::Payload { salt: payload.salt.to_vec(), bytes: payload.bytes };
    let record = Entry::Record(Box::new(Record { time_ms: 0, body, signed })).encode();
    let first = v1::OfferRequest { record, text: text.map(payload), ..v1::OfferRequest::default() };
    let operations = operations.into_iter().map(|operation| Piece::Operation(operation.encode()));
    let rows = payloads.into_iter().map(move |row| Piece::Row(payload(row)));
    let mut left = operations.chain(rows).peekable();
    let rest = std::iter::from_fn(move || {
        left.peek()?;
        let (mut message, mut bytes) = (v1::OfferRequest::default(), 0);
        while bytes < PIECE_BYTES {
            match left.next() {
                None => break,
                Some(Piece::Operation(operation)) => {
                    bytes += operation.len();
                    message.operations.push(operation);
                }
                Some(Piece::Row(row)) => {
                    bytes += row.bytes.len();
                    message.rows.push(row);
                }
            }
        }
        Some(message)
    });
    std::iter::once(first).chain(rest)
}

enum Piece {
    Operation(Vec<u8>),
    Row(v1::Payload),
}

/// Takes an offer's next message.
pub(crate) fn add(offer: &mut Option<Offer>, message: v1::OfferRequest) -> Result<(), Problem> {
    let v1::OfferRequest { record, text, operations, rows } = message;
    let wrong = |field: &'static str, why: String| Problem::field(field, format!("`{field}`: {why}"));
    let offer = match offer {
        None => {
            let entry = Entry::decode(&record).map_err(|error| wrong("record", error.to_string()))?;
            let Entry::Record(record) = entry else {
                return Err(wrong("record", "it is another kind of entry".to_owned()));
            };
            let text = text.map(|text| payload("text", text)).transpose()?;
            offer.insert(Offer {
                body: record.body,
                signed: record.signed,
                operations: Vec::new(),
                payloads: Vec::new(),
                text,
            })
        }
        Some(_) if !record.is_empty() || text.is_some() => {
            return Err(wrong("record", "it is said in the first message alone".to_owned()));
        }
        Some(offer) => offer,
    };
    for bytes in operations {
        let operation = Operation::decode(&bytes).map_err(|error| wrong("operations", error.to_string()))?;
        offer.operations.push(operation);
    }
    for row in rows {
        offer.payloads.push(payload("rows", row)?);
    }
    Ok(())
}

fn payload(field: &str, payload: v1::Payload) -> Result<Payload, Problem> {
    let v1::Payload { salt, bytes } = payload;
    let wrong =
        |salt: Vec<u8>| Problem::field(field, format!("`{field}.salt` has {} bytes; it can have 16", salt.len()));
    Ok(Payload { salt: salt.try_into().map_err(wrong)?, bytes })
}
