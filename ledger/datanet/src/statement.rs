//! The statement of an adapter: an in-toto Statement v1 with SLSA provenance v1, in a DSSE envelope that authors sign.
//!
//! It says to other tools what the ledger's records say: which generation, from which base, parents, train run and
//! revisions, under which licence. The payload has the one spelling of [`crate::json`]; its SHA-256 is the `statement`
//! of the record that publishes the adapter.

use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;
use loam_ledger_core::record::{
    AuthorKey, ContributorId, Generation, KeyId, ParentShare, RecordId, RevisionShare, Signature64, envelope_message,
    is_signed, key_id,
};
use loam_ledger_core::text::{base64_decode, base64_encode};
use serde_json::{Value, json};

use crate::json;

/// What the payload is, for DSSE.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// What a statement of this form is.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// What its predicate is.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// How the parameters of its predicate are to be read.
pub const BUILD_TYPE: &str = "urn:loam:adapter:v1";

/// Bytes that an envelope may have.
pub const ENVELOPE_BYTES_MAX: usize = 1 << 20;

/// Signatures that an envelope may have: as many as a record has authors.
pub const SIGNATURES_MAX: usize = loam_ledger_core::record::AUTHORS_MAX;

/// What is said of an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its name among people.
    pub name: String,
    /// Its content.
    pub generation: Generation,
    /// The base model.
    pub base: Hash,
    /// The digest of the licence's text.
    pub licence: Hash,
    /// Who publishes it.
    pub author: ContributorId,
    /// The training that made it.
    pub train_run: Option<RecordId>,
    /// What it goes on from.
    pub parents: Vec<ParentShare>,
    /// What it was trained on.
    pub revisions: Vec<RevisionShare>,
}

/// Why a statement or its envelope is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum StatementFault {
    #[error(
        "not a DSSE envelope: an object of payload, payloadType and signatures, at most {ENVELOPE_BYTES_MAX} bytes"
    )]
    Envelope,
    #[error("the envelope holds something else than an in-toto statement ({PAYLOAD_TYPE})")]
    PayloadType,
    #[error("not a statement of an adapter in the form and spelling that Loam writes")]
    Statement,
    #[error("one whose signature is asked for has not signed")]
    Unsigned,
    #[error("a signature in the name of one of its signers does not hold")]
    Signature,
}

fn resource(name: &str, kind: &str, id: &Hash) -> Value {
    json!({ "name": name, "uri": format!("urn:loam:{kind}:{id}") })
}

fn shared(mut resource: Value, share: u32) -> Value {
    resource["annotations"] = json!({ "shareMillionths": share });
    resource
}

fn digested(mut resource: Value, id: &Hash) -> Value {
    resource["digest"] = json!({ "sha256": id.to_hex() });
    resource
}

impl Statement {
    /// The payload, in its one spelling.
    pub fn payload(&self) -> Vec<u8> {
        let parent = |parent: &ParentShare| {
            let resource = resource("parent", "generation", &parent.generation);
            shared(digested(resource, &parent.generation), parent.share)
        };
        let revision = |source: &RevisionShare| shared(resource("revision", "record", &source.revision), source.share);
        let mut sources = vec![digested(resource("base", "generation", &self.base), &self.base)];
        sources.extend(self.parents.iter().map(parent));
        sources.extend(self.revisions.iter().map(revision));
        let mut run = json!({ "builder": { "id": format!("urn:loam:contributor:{}", self.author) } });
        if let Some(id) = &self.train_run {
            run["metadata"] = json!({ "invocationId": format!("urn:loam:record:{id}") });
        }
        let statement = json!({
            "_type": STATEMENT_TYPE,
            "subject": [{ "name": self.name, "digest": { "sha256": self.generation.to_hex() } }],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": { "licence": self.licence.to_hex() },
                    "resolvedDependencies": sources,
                },
                "runDetails": run,
            },
        });
        json::canonical(&statement).into_bytes()
    }

    /// Reads a payload; whatever this form does not say, or says otherwise, is refused.
    pub fn read(payload: &[u8]) -> Result<Self, StatementFault> {
        let text = core::str::from_utf8(payload).map_err(|_| StatementFault::Statement)?;
        let value = json::parse(text, crate::row::DEPTH_MAX).map_err(|_| StatementFault::Statement)?;
        let statement = Self::of(&value).ok_or(StatementFault::Statement)?;
        // All that is there was understood, if the same comes of it.
        if statement.payload() == payload { Ok(statement) } else { Err(StatementFault::Statement) }
    }

    fn of(value: &Value) -> Option<Self> {
        let urn = |value: &Value, kind: &str| {
            Hash::from_hex(value.as_str()?.strip_prefix("urn:loam:")?.strip_prefix(kind)?.strip_prefix(':')?).ok()
        };
        let hex = |value: &Value| Hash::from_hex(value.as_str()?).ok();
        let share = |source: &Value| u32::try_from(source["annotations"]["shareMillionths"].as_u64()?).ok();
        let (build, run) = (&value["predicate"]["buildDefinition"], &value["predicate"]["runDetails"]);
        let (subject, sources) = (&value["subject"][0], build["resolvedDependencies"].as_array()?);
        let named = |name: &'static str| sources.iter().filter(move |source| source["name"] == name);
        let parent = |source: &Value| {
            Some(ParentShare { generation: urn(&source["uri"], "generation")?, share: share(source)? })
        };
        let revision =
            |source: &Value| Some(RevisionShare { revision: urn(&source["uri"], "record")?, share: share(source)? });
        let invocation = &run["metadata"]["invocationId"];
        Some(Self {
            name: subject["name"].as_str()?.to_owned(),
            generation: hex(&subject["digest"]["sha256"])?,
            base: urn(&named("base").next()?["uri"], "generation")?,
            licence: hex(&build["externalParameters"]["licence"])?,
            author: urn(&run["builder"]["id"], "contributor")?,
            train_run: if invocation.is_null() { None } else { Some(urn(invocation, "record")?) },
            parents: named("parent").map(parent).collect::<Option<_>>()?,
            revisions: named("revision").map(revision).collect::<Option<_>>()?,
        })
    }
}

/// A payload and who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What is signed.
    pub payload: Vec<u8>,
    /// Signatures, by the ids of the keys that they claim to be of.
    pub signatures: Vec<(KeyId, Signature64)>,
}

impl Envelope {
    /// Signs a statement as all of these authors.
    pub fn signed(statement: &Statement, authors: &[&AuthorKey]) -> Self {
        let payload = statement.payload();
        let sign = |author: &&AuthorKey| (key_id(&author.public_key()), author.sign_envelope(PAYLOAD_TYPE, &payload));
        let signatures = authors.iter().map(sign).collect();
        Self { payload, signatures }
    }

    /// The digest that the record which publishes the adapter has of the statement: of the payload, whoever signed it.
    pub fn digest(&self) -> Hash {
        digest(&self.payload)
    }

    /// The envelope as JSON, in its one spelling.
    pub fn to_json(&self) -> String {
        let signature =
            |(key, signature): &(KeyId, Signature64)| json!({ "keyid": key.to_hex(), "sig": base64_encode(signature) });
        json::canonical(&json!({
            "payload": base64_encode(&self.payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": self.signatures.iter().map(signature).collect::<Vec<_>>(),
        }))
    }

    /// Takes an envelope apart. Nothing is verified before [`Self::verify`] says so.
    pub fn read(text: &[u8]) -> Result<Self, StatementFault> {
        if text.len() > ENVELOPE_BYTES_MAX {
            return Err(StatementFault::Envelope);
        }
        let text = core::str::from_utf8(text).map_err(|_| StatementFault::Envelope)?;
        let value = json::parse(text, 4).map_err(|_| StatementFault::Envelope)?;
        if value["payloadType"].as_str().is_some_and(|kind| kind != PAYLOAD_TYPE) {
            return Err(StatementFault::PayloadType);
        }
        Self::of(&value).ok_or(StatementFault::Envelope)
    }

    fn of(value: &Value) -> Option<Self> {
        value["payloadType"].as_str()?;
        let bytes = |value: &Value| base64_decode(value.as_str()?).ok();
        let signature = |line: &Value| {
            let key = Hash::from_hex(line["keyid"].as_str()?).ok()?;
            Some((key, bytes(&line["sig"])?.try_into().ok()?))
        };
        let lines = value["signatures"].as_array().filter(|lines| lines.len() <= SIGNATURES_MAX)?;
        let signatures = lines.iter().map(signature).collect::<Option<_>>()?;
        Some(Self { payload: bytes(&value["payload"])?, signatures })
    }

    /// Checks that each of these public keys signed, and gives what they signed. Signatures of others say nothing.
    pub fn verify(&self, keys: &[[u8; 32]]) -> Result<Statement, StatementFault> {
        if keys.is_empty() {
            return Err(StatementFault::Unsigned);
        }
        let message = envelope_message(PAYLOAD_TYPE, &self.payload);
        for key in keys {
            let id = key_id(key);
            let mut own = self.signatures.iter().filter(|(by, _)| *by == id).peekable();
            if own.peek().is_none() {
                return Err(StatementFault::Unsigned);
            }
            if !own.all(|(_, signature)| is_signed(key, &message, signature)) {
                return Err(StatementFault::Signature);
            }
        }
        Statement::read(&self.payload)
    }
}
