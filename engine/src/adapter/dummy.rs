//! Adapters out of a seed, for measuring: as large as real ones, made in memory, the same wherever they are made.

use std::path::Path;

use loam_kernels::layout::{AdapterLayout, DType, RANK_MAX, SiteKind};
use sha2::{Digest as _, Sha256};

use super::HostAdapter;
use super::generation::DigestTensor;
use super::load::{digest, ranks};
use super::peft::PeftConfig;
use crate::error::Error;
use crate::model::{Module, Sites};

/// How its text begins.
pub(super) const SCHEME: &str = "dummy:";

/// The rank where the text gives none.
const RANK: u32 = 16;

/// `dummy:SEED`, `dummy:SEED:RANK` or `dummy:SEED:RANK:TARGETS`; targets are `all-linear`, or names with commas between.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dummy {
    seed: u64,
    rank: u32,
    targets: Vec<String>,
}

impl Dummy {
    /// Reads its text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refused = || Error::Request {
            field: "source",
            found: format!("{text:?}"),
            allowed: format!(
                "dummy:SEED[:RANK[:TARGETS]] with a rank from 1 to {RANK_MAX} and targets as `q_proj,v_proj`"
            ),
        };
        let mut parts = text.strip_prefix(SCHEME).ok_or_else(refused)?.splitn(3, ':');
        let seed = parts.next().and_then(|seed| seed.parse().ok()).ok_or_else(refused)?;
        let rank = parts.next().map_or(Some(RANK), |rank| rank.parse().ok());
        let rank = rank.filter(|rank| (1..=RANK_MAX).contains(rank)).ok_or_else(refused)?;
        let targets = parts.next().filter(|targets| *targets != "all-linear");
        let targets = targets.map_or_else(Vec::new, |targets| targets.split(',').map(str::to_owned).collect());
        Ok(Self { seed, rank, targets })
    }

    /// What PEFT would have written beside it.
    pub fn config(&self) -> Result<PeftConfig, Error> {
        let targets = &self.targets;
        let targets = if targets.is_empty() { serde_json::json!("all-linear") } else { serde_json::json!(targets) };
        let config = serde_json::json!({
            "peft_type": "LORA", "r": self.rank, "lora_alpha": 2 * self.rank, "target_modules": targets,
        });
        PeftConfig::parse(Path::new(&self.to_string()), config.to_string().as_bytes())
    }

    /// Makes it.
    pub fn load(&self, sites: &Sites) -> Result<HostAdapter, Error> {
        let chosen = self.config()?.choose(sites)?;
        let layout = AdapterLayout::new(DType::Bf16, sites.shapes(), &ranks(sites, &chosen))?;
        let mut slab = vec![0; layout.len() * DType::Bf16.bytes()];
        let mut digests = Vec::with_capacity(chosen.len());
        for chosen in &chosen {
            let Module { ref path, site, module, in_features, out_features, .. } = sites.modules()[chosen.module];
            let rank = chosen.rank as usize;
            // Of an embedding one column is chosen, so that nothing is summed over.
            let summed = if sites.shapes()[site].kind == SiteKind::Linear { in_features } else { 1 };
            let a = self.values(path, 'a', [rank, in_features], magnitude(summed, 0));
            let b = self.values(path, 'b', [out_features, rank], magnitude(rank, 3));
            layout.write_a(&mut slab, site, module, &a.0)?;
            layout.write_b(&mut slab, site, module, &b.0)?;
            digests.push([Some(a.1), Some(b.1)]);
        }
        Ok(HostAdapter { generation: digest(sites, &chosen, &digests), layout, slab })
    }

    /// A matrix in bf16, its values between 2^(exponent - 4) and 2^exponent and of both signs.
    fn values(&self, path: &str, matrix: char, shape: [usize; 2], exponent: i16) -> (Vec<u8>, DigestTensor) {
        let name = Sha256::digest(format!("{} {path} {matrix}", self.seed));
        let mut state = u64::from_le_bytes(name[..8].try_into().expect("eight of 32 bytes"));
        let len = shape[0] * shape[1] * 2;
        let mut bytes = Vec::with_capacity(len + 8);
        // bf16: sign, eight bits of exponent, seven bits of mantissa. Four values at a time.
        let lowest = u64::try_from(127 - 4 + exponent).expect("an exponent near 0") << 7;
        let lowest = lowest * 0x0001_0001_0001_0001;
        while bytes.len() < len {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let random = mix(state) & 0x81ff_81ff_81ff_81ff;
            // The lowest two bits of the exponent field are free in `random`'s: added, no carry reaches the sign.
            bytes.extend_from_slice(&(random + lowest).to_le_bytes());
        }
        bytes.truncate(len);
        let digest = Sha256::digest(&bytes).into();
        (bytes, DigestTensor { dtype: DType::Bf16, shape, digest })
    }
}

impl std::fmt::Display for Dummy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, rank, targets } = self;
        let targets = if targets.is_empty() { "all-linear".to_owned() } else { targets.join(",") };
        write!(f, "{SCHEME}{seed}:{rank}:{targets}")
    }
}

/// An exponent of two for values that are summed over so many products: their sum stays near 2^-smaller.
fn magnitude(summed: usize, smaller: i16) -> i16 {
    let half_bits = (usize::BITS - summed.leading_zeros()).div_ceil(2);
    -(i16::try_from(half_bits).expect("at most 32") + smaller)
}

/// Sebastiano Vigna's SplitMix64: every state has another number.
const fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
