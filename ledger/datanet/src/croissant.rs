//! Croissant 1.1: a revision described for other tools, its provenance in PROV-O; and rows from such a description.
//!
//! Out go a JSON-LD file and the rows as JSON lines. Each contribution is an activity with its authors, the revision an
//! activity that they informed. Fields are told as far as Croissant has a type for what stands in them. In comes one
//! file of JSON lines, CSV or text, whose digest is checked; whatever would make other rows of it is refused by name.

use std::collections::BTreeMap;

use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;
use loam_ledger_core::record::{ContributorId, ContributorKind, RecordId};
use serde_json::{Map, Value, json};

use crate::fault::Fault;
use crate::json::{canonical, parse};
use crate::row::Row;
use crate::rows::{Format, Placed, read};
use crate::shown::{named, quoted};

/// Which edition is written.
pub const CONFORMS_TO: &str = "http://mlcommons.org/croissant/1.1";

/// Bytes that a description may have.
pub const METADATA_BYTES_MAX: usize = 16 << 20;

/// Levels that a description may have.
const LEVELS_MAX: usize = 64;

/// What is told of a revision besides its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The dataset's name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Its page.
    pub url: String,
    /// The licence: best its address.
    pub licence: String,
    /// When the revision was committed, as a date: `2026-01-29`.
    pub date: String,
    /// Its number among the dataset's revisions, from 1.
    pub number: u64,
    /// The dataset.
    pub dataset: RecordId,
    /// The revision.
    pub revision: RecordId,
    /// What it was made from.
    pub parents: Vec<RecordId>,
    /// Work that is in it, and whose.
    pub contributions: Vec<(RecordId, Vec<ContributorId>)>,
    /// Everybody of the above.
    pub people: BTreeMap<ContributorId, ContributorKind>,
    /// The name of the data file, relative to the description.
    pub file: String,
}

/// The two files of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The description: JSON-LD in its one spelling.
    pub metadata: String,
    /// The rows, as JSON lines.
    pub data: String,
}

/// Describes rows.
pub fn write(about: &Description, rows: &[Row]) -> Written {
    let data: String = rows.iter().flat_map(|row| [row.text(), "\n"]).collect();
    let metadata = json!({
        "@context": context(),
        "@type": "sc:Dataset",
        "@id": record(&about.dataset),
        "conformsTo": CONFORMS_TO,
        "name": about.name,
        "description": about.description,
        "url": about.url,
        "license": about.licence,
        "citeAs": format!("{}, revision {}, {}", about.name, about.number, record(&about.revision)),
        "version": format!("{}.0.0", about.number),
        "datePublished": about.date,
        "creator": about.people.iter().map(creator).collect::<Vec<_>>(),
        "distribution": [{
            "@type": "cr:FileObject",
            "@id": about.file,
            "name": about.file,
            "contentUrl": about.file,
            "contentSize": format!("{} B", data.len()),
            "encodingFormat": "application/jsonlines",
            "sha256": digest(data.as_bytes()).to_hex(),
        }],
        "recordSet": [record_set(rows, &about.file)],
        "prov:wasAttributedTo": about.people.keys().map(|who| json!({ "@id": contributor(who) })).collect::<Vec<_>>(),
        "prov:wasDerivedFrom": about.parents.iter().map(|parent| json!({ "@id": record(parent) })).collect::<Vec<_>>(),
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "@id": record(&about.revision),
            "prov:label": "revision",
            "prov:wasInformedBy": about.contributions.iter().map(|work| activity(work, about)).collect::<Vec<_>>(),
        },
    });
    Written { metadata: canonical(&metadata) + "\n", data }
}

fn record(id: &RecordId) -> String {
    format!("urn:loam:record:{id}")
}

fn contributor(id: &ContributorId) -> String {
    format!("urn:loam:contributor:{id}")
}

fn creator((who, kind): (&ContributorId, &ContributorKind)) -> Value {
    let kind = match kind {
        ContributorKind::Person => "sc:Person",
        // Of a tool, whoever answers for it.
        ContributorKind::Organisation | ContributorKind::Tool | ContributorKind::Operator => "sc:Organization",
    };
    json!({ "@type": kind, "@id": contributor(who), "name": who.to_hex(), "identifier": contributor(who) })
}

fn activity((work, authors): &(RecordId, Vec<ContributorId>), about: &Description) -> Value {
    let agent = |who: &ContributorId| {
        let kind = match about.people.get(who) {
            Some(ContributorKind::Person) => "prov:Person",
            Some(ContributorKind::Organisation | ContributorKind::Operator) => "prov:Organization",
            Some(ContributorKind::Tool) => "prov:SoftwareAgent",
            None => "prov:Agent",
        };
        json!({ "@type": kind, "@id": contributor(who) })
    };
    json!({
        "@type": "prov:Activity",
        "@id": record(work),
        "prov:label": "contribution",
        "prov:wasAssociatedWith": authors.iter().map(agent).collect::<Vec<_>>(),
    })
}

/// The specification's context, the terms that its validator expects besides, and PROV-O's prefix.
fn context() -> Value {
    let own = "annotation arrayShape citeAs column containedIn equivalentProperty excludes extract field fileProperty \
        fileObject fileSet format includes isArray isLiveDataset jsonPath key md5 parentField recordSet references regex \
        readLines sdVersion separator source subField transform unArchive value path repeated replace samplingRate";
    let mut context: Map<String, Value> =
        own.split_whitespace().map(|term| (term.to_owned(), format!("cr:{term}").into())).collect();
    // The specification's text has schema.org's terms under http, its context in use and its validator under https.
    let others = json!({
        "@language": "en",
        "@vocab": "https://schema.org/",
        "sc": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "dct": "http://purl.org/dc/terms/",
        "prov": "http://www.w3.org/ns/prov#",
        "conformsTo": "dct:conformsTo",
        "data": { "@id": "cr:data", "@type": "@json" },
        "dataType": { "@id": "cr:dataType", "@type": "@vocab" },
        "examples": { "@id": "cr:examples", "@type": "@json" },
    });
    if let Value::Object(others) = others {
        context.extend(others);
    }
    Value::Object(context)
}

/// What stands in a field, in all rows that have it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Float,
    Boolean,
    /// Nothing but null so far.
    Null,
    /// Several kinds, objects, or lists: Croissant has no type for it.
    Other,
}

impl Kind {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Boolean,
            Value::String(_) => Self::Text,
            Value::Number(number) if number.is_f64() => Self::Float,
            Value::Number(_) => Self::Integer,
            Value::Array(_) | Value::Object(_) => Self::Other,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Null, kind) | (kind, Self::Null) => kind,
            (Self::Integer, Self::Float) | (Self::Float, Self::Integer) => Self::Float,
            (one, other) if one == other => one,
            _ => Self::Other,
        }
    }

    fn data_type(self) -> Option<&'static str> {
        match self {
            Self::Text => Some("sc:Text"),
            Self::Integer => Some("sc:Integer"),
            Self::Float => Some("sc:Float"),
            Self::Boolean => Some("sc:Boolean"),
            Self::Null | Self::Other => None,
        }
    }
}

fn record_set(rows: &[Row], file: &str) -> Value {
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    for row in rows {
        for (name, value) in row.fields() {
            let kind = kinds.entry(name).or_insert(Kind::Null);
            *kind = kind.and(Kind::of(&value));
        }
    }
    let field = |(name, kind): (&String, &Kind)| {
        Some(json!({
            "@type": "cr:Field",
            "@id": format!("rows/{name}"),
            "name": name,
            "dataType": kind.data_type()?,
            "source": { "fileObject": { "@id": file }, "extract": { "column": name } },
        }))
    };
    let untold: Vec<&str> =
        kinds.iter().filter(|(_, kind)| kind.data_type().is_none()).map(|(name, _)| name.as_str()).collect();
    let mut set = json!({
        "@type": "cr:RecordSet",
        "@id": "rows",
        "name": "rows",
        "field": kinds.iter().filter_map(field).collect::<Vec<_>>(),
    });
    if !untold.is_empty() {
        set["description"] = format!("Not described, for want of one type: {}.", untold.join(", ")).into();
    }
    set
}

/// Why a description is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum CroissantFault {
    #[error("the description has more than {METADATA_BYTES_MAX} bytes")]
    Bytes,
    #[error("the description: {0}")]
    Json(Fault),
    #[error("this is no Croissant 1.0 or 1.1: it has not \"conformsTo\" with {CONFORMS_TO} or its predecessor")]
    Edition,
    #[error("{what} is not as it should be: {wants}")]
    Shape { what: &'static str, wants: &'static str },
    #[error("{what} is not supported: {instead}")]
    Unsupported { what: String, instead: &'static str },
    #[error("the data file has the digest {found}, and the description {expected}: it is another file, or was changed")]
    Digest { found: String, expected: String },
    #[error("the data file, {0}")]
    Data(Fault),
}

/// What a description says of the one file that its rows are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The dataset's name.
    pub name: String,
    /// Its licence, where there is one.
    pub licence: Option<String>,
    /// Where the file lies: a path relative to the description, or an address that the caller may not care to go to.
    pub file: String,
    /// How rows stand in it.
    pub format: Format,
    /// Its SHA-256.
    pub sha256: Hash,
}

impl Source {
    /// Reads a description.
    pub fn read(metadata: &[u8]) -> Result<Self, CroissantFault> {
        if metadata.len() > METADATA_BYTES_MAX {
            return Err(CroissantFault::Bytes);
        }
        let text = crate::rows::text(metadata).map_err(CroissantFault::Json)?;
        let value = parse(text, LEVELS_MAX).map_err(|fault| {
            let line = text.lines().nth(fault.line.saturating_sub(1)).unwrap_or("");
            let number = fault.line.max(1) as u64;
            CroissantFault::Json(crate::rows::placed(number, line, fault))
        })?;
        if !conforms(&value) {
            return Err(CroissantFault::Edition);
        }
        let name = value["name"].as_str().ok_or(shape("name", "the dataset's name, a string"))?.to_owned();
        let file = only_file(&value)?;
        for set in list(&value["recordSet"]) {
            check_record_set(set)?;
        }
        if list(&value["recordSet"]).len() > 1 {
            return Err(unsupported("more than one RecordSet", "describe each file's rows in a file of its own"));
        }
        let url = file["contentUrl"].as_str().ok_or(shape("contentUrl", "the data file's path, a string"))?;
        let sha256 = file["sha256"].as_str().and_then(|hex| Hash::from_hex(&hex.to_ascii_lowercase()).ok());
        Ok(Self {
            name,
            licence: list(&value["license"]).first().and_then(|licence| licence.as_str()).map(str::to_owned),
            file: url.to_owned(),
            format: format(file)?,
            sha256: sha256
                .ok_or(shape("sha256", "64 hexadecimal digits; without them nothing says which file is meant"))?,
        })
    }

    /// The rows of the data file, if it is the one that was described.
    pub fn rows(&self, data: &[u8]) -> Result<Vec<Placed>, CroissantFault> {
        let found = digest(data);
        if found != self.sha256 {
            return Err(CroissantFault::Digest { found: found.to_hex(), expected: self.sha256.to_hex() });
        }
        read(self.format, data).map_err(CroissantFault::Data)
    }
}

fn shape(what: &'static str, wants: &'static str) -> CroissantFault {
    CroissantFault::Shape { what, wants }
}

fn unsupported(what: &str, instead: &'static str) -> CroissantFault {
    CroissantFault::Unsupported { what: what.to_owned(), instead }
}

/// One value or several, as JSON-LD has it both ways.
fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(list) => list.iter().collect(),
        one => vec![one],
    }
}

fn conforms(value: &Value) -> bool {
    let editions = list(&value["conformsTo"]).into_iter().chain(list(&value["dct:conformsTo"]));
    let mut names = editions.filter_map(|edition| edition.as_str().or(edition["@id"].as_str()));
    names.any(|name| {
        let path = name.strip_prefix("http://").or(name.strip_prefix("https://"));
        matches!(path, Some("mlcommons.org/croissant/1.0" | "mlcommons.org/croissant/1.1"))
    })
}

/// Whether something is of a type, its prefix or address aside.
fn is_a(value: &Value, name: &str) -> bool {
    list(&value["@type"])
        .iter()
        .filter_map(|kind| kind.as_str())
        .any(|kind| kind.rsplit([':', '/']).next() == Some(name))
}

fn only_file(value: &Value) -> Result<&Value, CroissantFault> {
    let files = list(&value["distribution"]);
    if let Some(other) = files.iter().find(|file| !is_a(file, "FileObject")) {
        let kind = list(&other["@type"]).first().and_then(|kind| kind.as_str()).unwrap_or("a resource without a type");
        return Err(unsupported(&named(kind), "name one data file, as a cr:FileObject"));
    }
    match &files[..] {
        [file] if file["containedIn"].is_null() => Ok(*file),
        [_] => Err(unsupported("containedIn", "unpack the archive and describe the file in it")),
        [] => Err(shape("distribution", "a list with the data file, a cr:FileObject")),
        _ => Err(unsupported("more than one FileObject", "describe each file in a file of its own")),
    }
}

fn format(file: &Value) -> Result<Format, CroissantFault> {
    let format = file["encodingFormat"].as_str().ok_or(shape("encodingFormat", "a media type such as text/csv"))?;
    match format {
        "application/jsonlines" | "application/jsonl" | "application/x-ndjson" => Ok(Format::JsonLines),
        "text/csv" => Ok(Format::Csv),
        "text/plain" => Ok(Format::Text),
        other => Err(unsupported(
            &format!("the format {}", named(other)),
            "application/jsonlines, text/csv and text/plain are read",
        )),
    }
}

/// Its fields are columns of the file, under the same names and as they stand: then rows are the file's.
fn check_record_set(set: &Value) -> Result<(), CroissantFault> {
    const AS_IT_STANDS: &str = "rows are taken as they stand in the file; put it into that form first";
    if !set["data"].is_null() {
        return Err(unsupported("data", "put the rows into a file"));
    }
    for field in list(&set["field"]) {
        for what in ["references", "subField", "parentField", "repeated"] {
            if !field[what].is_null() {
                return Err(unsupported(what, AS_IT_STANDS));
            }
        }
        let source = &field["source"];
        for what in ["transform", "format"] {
            if !source[what].is_null() {
                return Err(unsupported(what, AS_IT_STANDS));
            }
        }
        let extract = &source["extract"];
        let Some(column) = extract["column"].as_str() else {
            let what = extract.as_object().and_then(|extract| extract.keys().next());
            let what = what.map_or("a field without a column".to_owned(), |what| named(what));
            return Err(unsupported(&what, AS_IT_STANDS));
        };
        let name = field["name"].as_str().or(field["@id"].as_str()).unwrap_or("");
        if name != column && !name.ends_with(&format!("/{column}")) {
            return Err(unsupported(&format!("the field {} of column {}", quoted(name), quoted(column)), AS_IT_STANDS));
        }
    }
    Ok(())
}
