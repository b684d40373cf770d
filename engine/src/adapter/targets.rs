//! Which modules an adapter adds to, each at its rank and scale: PEFT's rules over a model's sites.
//!
//! Where a model's embedding is its head too, an adapter for one of them adds to that one only: PEFT does the same as long
//! as `ensure_weight_tying` is off, and on, it is refused.

use std::collections::HashSet;

use loam_kernels::layout::RANK_MAX;

use super::pattern::{Whole, first_number};
use super::peft::PeftConfig;
use crate::error::Error;
use crate::model::{Module, Sites};

/// What a configuration says of one module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// Which of [`Sites::modules`].
    pub module: usize,
    /// Its rank.
    pub rank: u32,
    /// What its delta is multiplied by.
    pub scale: f32,
}

/// `target_modules` or `exclude_modules`.
#[derive(Clone, Debug)]
pub(super) enum Names {
    /// Whole paths, or what paths end in after a dot.
    Listed(HashSet<String>),
    /// A pattern of whole paths.
    Pattern(Whole),
    /// Every linear but the one that makes logits.
    AllLinear,
}

impl Names {
    pub(super) fn listed(names: Vec<&str>) -> Self {
        Self::Listed(names.into_iter().map(str::to_owned).collect())
    }

    pub(super) fn pattern(pattern: &str) -> Result<Self, String> {
        Whole::new(pattern).map(Self::Pattern)
    }
}

/// Ends of a path that a list's names are compared with: itself first, then what follows each dot.
fn endings(path: &str) -> impl Iterator<Item = &str> {
    std::iter::once(path).chain(path.match_indices('.').map(|(dot, _)| &path[dot + 1..]))
}

impl PeftConfig {
    /// The modules that the adapter adds to, in the order of the sites.
    pub fn choose(&self, sites: &Sites) -> Result<Vec<Chosen>, Error> {
        self.expect_every_name_to_match(sites)?;
        let mut chosen = Vec::new();
        for (index, module) in sites.modules().iter().enumerate() {
            if !self.excludes(&module.path)? && self.targets(module, sites)? {
                chosen.push(self.rank_and_scale(index, &module.path)?);
            }
        }
        if chosen.is_empty() {
            let allowed = "one that leaves some linear of this model";
            return Err(self.refuse("target_modules", "a choice that leaves none", allowed));
        }
        Ok(chosen)
    }

    fn expect_every_name_to_match(&self, sites: &Sites) -> Result<(), Error> {
        let Names::Listed(names) = &self.targets else { return Ok(()) };
        let mut left: HashSet<&str> = names.iter().map(String::as_str).collect();
        for module in sites.modules() {
            if left.is_empty() {
                break;
            }
            for end in endings(&module.path) {
                left.remove(end);
            }
        }
        match left.into_iter().min() {
            None => Ok(()),
            Some(name) => {
                let allowed = "names of linears or of the embedding of this model";
                Err(self.refuse("target_modules", format!("a list with {name:?}"), allowed))
            }
        }
    }

    fn excludes(&self, path: &str) -> Result<bool, Error> {
        match &self.excluded {
            // The word has a meaning in `target_modules` only.
            None | Some(Names::AllLinear) => Ok(false),
            Some(Names::Listed(names)) => Ok(endings(path).any(|end| names.contains(end))),
            Some(Names::Pattern(pattern)) => pattern.matches(path).map_err(|why| self.too_hard("exclude_modules", why)),
        }
    }

    fn targets(&self, module: &Module, sites: &Sites) -> Result<bool, Error> {
        let path = module.path.as_str();
        match &self.targets {
            Names::AllLinear => Ok(module.site != sites.head() && module.site != sites.embedding()),
            Names::Pattern(pattern) => pattern.matches(path).map_err(|why| self.too_hard("target_modules", why)),
            // A whole path is chosen whatever its layer: only endings are held against `layers_to_transform`.
            Names::Listed(names) if names.contains(path) => Ok(true),
            Names::Listed(names) => Ok(endings(path).any(|end| names.contains(end)) && self.layer_is_wanted(path)?),
        }
    }

    fn layer_is_wanted(&self, path: &str) -> Result<bool, Error> {
        let Some(layers) = &self.layers else { return Ok(true) };
        let mut layer = None;
        for pattern in &layers.patterns {
            layer = pattern.find(path).map_err(|why| self.too_hard("layers_pattern", why))?;
            if layer.is_some() {
                break;
            }
        }
        if layers.patterns.is_empty() {
            layer = first_number(path);
        }
        Ok(layer.is_some_and(|layer| layers.wanted.contains(&layer.into())))
    }

    fn rank_and_scale(&self, module: usize, path: &str) -> Result<Chosen, Error> {
        let (mut rank, mut rank_field) = (self.rank, "r");
        for (ending, of_pattern) in &self.ranks {
            if ending.matches(path).map_err(|why| self.too_hard("rank_pattern", why))? {
                (rank, rank_field) = (*of_pattern, "rank_pattern");
                break;
            }
        }
        let (mut alpha, mut alpha_field) = (self.alpha, "lora_alpha");
        for (ending, of_pattern) in &self.alphas {
            if ending.matches(path).map_err(|why| self.too_hard("alpha_pattern", why))? {
                (alpha, alpha_field) = (*of_pattern, "alpha_pattern");
                break;
            }
        }
        if rank > RANK_MAX {
            return Err(self.refuse(rank_field, rank.to_string(), format!("at most {RANK_MAX}")));
        }
        let divisor = if self.rank_stabilised { f64::from(rank).sqrt() } else { f64::from(rank) };
        let scale = (alpha / divisor) as f32;
        if !scale.is_finite() {
            return Err(self.refuse(alpha_field, alpha.to_string(), "a number that a 32-bit scale can hold"));
        }
        Ok(Chosen { module, rank, scale })
    }

    fn too_hard(&self, field: &str, why: String) -> Error {
        self.refuse(field, "a pattern without an end in sight", format!("one that is quickly matched; {why}"))
    }
}
