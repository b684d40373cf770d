//! How positions turn queries and keys, as a model's configuration says it: in three spellings.

use loam_kernels::layout::{Rope, RopeScaling};
use serde_json::{Map, Value};

use super::config::Fields;
use super::sites::ModelShape;
use crate::error::Error;

impl Fields<'_> {
    /// `rope_theta` beside `rope_scaling`, whose kind is its `rope_type` or its `type`; or `rope_parameters` with all of
    /// it.
    pub(super) fn rope(&self, shape: &ModelShape, positions_max: usize) -> Result<Rope, Error> {
        let nested = |field: &str| match self.value(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => self.refuse(field, "an object"),
        };
        let empty = Map::new();
        let (prefix, map) = match (nested("rope_parameters")?, nested("rope_scaling")?) {
            (Some(map), None) => ("rope_parameters.", map),
            (None, Some(map)) => ("rope_scaling.", map),
            (None, None) => ("rope_scaling.", &empty),
            (Some(_), Some(_)) => return self.refuse("rope_scaling", "absent where rope_parameters is given"),
        };
        let inner = Fields { path: self.path, prefix, map };
        let theta = match inner.number("rope_theta")? {
            Some(theta) => theta,
            None => self.number("rope_theta")?.unwrap_or(10_000.0),
        };
        for fields in [&inner, self] {
            if fields.number("partial_rotary_factor")?.unwrap_or(1.0) != 1.0 {
                return fields.refuse("partial_rotary_factor", "1 in this family");
            }
        }
        let scaling = inner.scaling(self.number("original_max_position_embeddings")?, positions_max)?;
        let rope = Rope { rotary_dim: shape.head_dim, theta, scaling };
        let malformed = |reason| Error::Malformed { path: self.path.to_owned(), reason };
        rope.frequencies().map_err(|error| malformed(format!("`{}`: {error}", prefix.trim_end_matches('.'))))?;
        Ok(rope)
    }

    /// `beside` and `positions_max` are what stands outside: what the model was first trained on, and what it is for.
    fn scaling(&self, beside: Option<f64>, positions_max: usize) -> Result<RopeScaling, Error> {
        let spelt = if self.value("rope_type").is_some() { "rope_type" } else { "type" };
        let known: &[&str] = match self.value(spelt).map(Value::as_str) {
            None | Some(Some("default")) => &[],
            Some(Some("linear")) => &["factor"],
            Some(Some("llama3")) => LLAMA3,
            Some(Some("yarn")) => YARN,
            Some(_) => return self.refuse(spelt, "default, linear, llama3 or yarn"),
        };
        let always = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];
        let mut strange = self.map.iter().filter(|(field, value)| {
            !value.is_null() && !always.contains(&field.as_str()) && !known.contains(&field.as_str())
        });
        if let Some((field, _)) = strange.next() {
            return self.refuse(field, "left out with this rope_type");
        }
        match known {
            [] => Ok(RopeScaling::Default),
            ["factor"] => Ok(RopeScaling::Linear { factor: self.needed_number("factor")? }),
            _ if known == LLAMA3 => Ok(RopeScaling::Llama3 {
                factor: self.needed_number("factor")?,
                low_freq_factor: self.needed_number("low_freq_factor")?,
                high_freq_factor: self.needed_number("high_freq_factor")?,
                original_positions: self.original_positions(beside, positions_max)?,
            }),
            _ => self.yarn(self.original_positions(beside, positions_max)?),
        }
    }

    fn yarn(&self, original_positions: f64) -> Result<RopeScaling, Error> {
        let factor = self.needed_number("factor")?;
        let (mscale, all) = (self.number("mscale")?, self.number("mscale_all_dim")?);
        let stated = self.number("attention_factor")?;
        Ok(RopeScaling::Yarn {
            factor,
            original_positions,
            beta_fast: self.number("beta_fast")?.unwrap_or(32.0),
            beta_slow: self.number("beta_slow")?.unwrap_or(1.0),
            attention_factor: stated.unwrap_or_else(|| RopeScaling::yarn_attention_factor(factor, mscale, all)),
            truncate: self.flag("truncate")?.unwrap_or(true),
        })
    }

    /// Transformers takes the number beside before the one inside, others do not: both must be one.
    fn original_positions(&self, beside: Option<f64>, positions_max: usize) -> Result<f64, Error> {
        const FIELD: &str = "original_max_position_embeddings";
        match (self.number(FIELD)?, beside) {
            (Some(inside), Some(beside)) if inside != beside => {
                self.refuse(FIELD, &format!("{beside}, as beside it, or stand once"))
            }
            (inside, beside) => Ok(inside.or(beside).unwrap_or(positions_max as f64)),
        }
    }

    fn needed_number(&self, field: &str) -> Result<f64, Error> {
        match self.number(field)? {
            Some(number) => Ok(number),
            None => self.refuse(field, "a number above 0"),
        }
    }
}

/// Fields of a scaling as in Llama 3.
const LLAMA3: &[&str] = &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"];

/// Fields of YaRN.
const YARN: &[&str] = &[
    "factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
];
