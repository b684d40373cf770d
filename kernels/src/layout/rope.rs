//! Rotary position embedding: which angle each pair of a head's values turns by, at each position.

use std::f64::consts::PI;

use crate::error::{Error, product};

/// Angles of a model. Pairs are (i, i + rotary_dim / 2), as in Transformers' Llama.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Values of a head that turn; the rest, if any, stay.
    pub rotary_dim: usize,
    /// Base of the geometric series of wavelengths.
    pub theta: f64,
    /// How the series is changed for contexts longer than those of training.
    pub scaling: RopeScaling,
}

/// Ways to stretch the angles, named as Transformers names them.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// As trained.
    Default,
    /// All wavelengths longer by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Long wavelengths longer by a factor, short ones as trained, those between blended.
    Llama3 {
        /// The factor of long wavelengths.
        factor: f64,
        /// Wavelengths above `original_positions` over this are long.
        low_freq_factor: f64,
        /// Wavelengths below `original_positions` over this are short.
        high_freq_factor: f64,
        /// Positions the model was first trained on.
        original_positions: f64,
    },
    /// YaRN: blended by the number of turns over the trained context; cosines and sines scaled.
    Yarn {
        /// The factor of long wavelengths.
        factor: f64,
        /// Positions the model was first trained on.
        original_positions: f64,
        /// Pairs with more turns than this stay as trained (32 where a model says nothing).
        beta_fast: f64,
        /// Pairs with fewer turns than this are stretched whole (1 where a model says nothing).
        beta_slow: f64,
        /// What cosines and sines are multiplied by; [`RopeScaling::yarn_attention_factor`] where a model says nothing.
        attention_factor: f64,
        /// Whether the blend begins and ends at whole pairs (it does where a model says nothing).
        truncate: bool,
    },
}

impl RopeScaling {
    /// What YaRN multiplies cosines and sines by where a model's configuration does not say.
    pub fn yarn_attention_factor(factor: f64, mscale: Option<f64>, mscale_all_dim: Option<f64>) -> f64 {
        let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
        match (mscale, mscale_all_dim) {
            (Some(some), Some(all)) if some != 0.0 && all != 0.0 => scale(some) / scale(all),
            _ => scale(1.0),
        }
    }
}

impl Rope {
    /// Turns per position of each pair, in radians: `[rotary_dim / 2]`.
    pub fn frequencies(&self) -> Result<Vec<f64>, Error> {
        self.check()?;
        let pairs = self.rotary_dim / 2;
        product("the rotary dimension", &[self.rotary_dim])?;
        let trained = (0..pairs).map(|pair| self.theta.powf(-2.0 * pair as f64 / self.rotary_dim as f64));
        let frequencies: Vec<f64> = match self.scaling {
            RopeScaling::Default => trained.collect(),
            RopeScaling::Linear { factor } => trained.map(|frequency| frequency / factor).collect(),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions } => trained
                .map(|frequency| {
                    let turns = original_positions * frequency / (2.0 * PI);
                    let blend = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    let blend = blend.clamp(0.0, 1.0);
                    (1.0 - blend) * frequency / factor + blend * frequency
                })
                .collect(),
            RopeScaling::Yarn { factor, original_positions, beta_fast, beta_slow, truncate, .. } => {
                let pair_with_turns = |turns: f64| {
                    self.rotary_dim as f64 * (original_positions / (turns * 2.0 * PI)).ln() / (2.0 * self.theta.ln())
                };
                let (mut low, mut high) = (pair_with_turns(beta_fast), pair_with_turns(beta_slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                (low, high) = (low.max(0.0), high.min(self.rotary_dim as f64 - 1.0));
                if low == high {
                    high += 0.001;
                }
                let stretched = |pair: usize| ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
                let blend =
                    |(pair, frequency)| frequency / factor * stretched(pair) + frequency * (1.0 - stretched(pair));
                trained.enumerate().map(blend).collect()
            }
        };
        // A tiny factor, or numbers that differ by hundreds of orders, give what no angle can be made of.
        let too_large = |frequency: &&f64| !(frequency.is_finite() && frequency.abs() <= f64::from(f32::MAX));
        if let Some(found) = frequencies.iter().find(too_large) {
            let (what, found, allowed) = ("a frequency of the rope", found.to_string(), "one that 32 bits can hold");
            return Err(Error::Unsupported { what, found, allowed });
        }
        Ok(frequencies)
    }

    /// `[positions, rotary_dim]`: at each position the cosines of all pairs, then their sines.
    pub fn table(&self, positions: usize) -> Result<Vec<f32>, Error> {
        let frequencies = self.frequencies()?;
        let scale = match self.scaling {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor,
            _ => 1.0,
        };
        let len = product("a table of angles", &[positions, self.rotary_dim])?;
        let mut table = Vec::new();
        table.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { what: "a table of angles", bytes: len * 4 })?;
        for position in 0..positions {
            let angles = frequencies.iter().map(|frequency| position as f64 * frequency);
            table.extend(angles.clone().map(|angle| (angle.cos() * scale) as f32));
            table.extend(angles.map(|angle| (angle.sin() * scale) as f32));
        }
        Ok(table)
    }

    fn check(&self) -> Result<(), Error> {
        if self.rotary_dim == 0 || !self.rotary_dim.is_multiple_of(2) {
            let found = self.rotary_dim.to_string();
            return Err(Error::Unsupported { what: "the rotary dimension", found, allowed: "even, and 2 or more" });
        }
        let above = |what, value: f64, least: f64| {
            let allowed = "a finite number above 0 (theta: above 1)";
            let fits = value.is_finite() && value > least;
            if fits { Ok(()) } else { Err(Error::Unsupported { what, found: value.to_string(), allowed }) }
        };
        above("rope_theta", self.theta, 1.0)?;
        match self.scaling {
            RopeScaling::Default => Ok(()),
            RopeScaling::Linear { factor } => above("the rope factor", factor, 0.0),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions } => {
                above("the rope factor", factor, 0.0)?;
                above("low_freq_factor", low_freq_factor, 0.0)?;
                above("high_freq_factor less low_freq_factor", high_freq_factor - low_freq_factor, 0.0)?;
                above("original_max_position_embeddings", original_positions, 0.0)
            }
            RopeScaling::Yarn { factor, original_positions, beta_fast, beta_slow, attention_factor, .. } => {
                above("the rope factor", factor, 0.0)?;
                above("original_max_position_embeddings", original_positions, 0.0)?;
                above("beta_fast", beta_fast, 0.0)?;
                above("beta_slow", beta_slow, 0.0)?;
                above("attention_factor", attention_factor, 0.0)?;
                // It is multiplied with cosines of 32 bits.
                above("attention_factor as a number of 32 bits", f64::from(attention_factor as f32), 0.0)
            }
        }
    }
}
