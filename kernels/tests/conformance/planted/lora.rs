//! Faults of the lora group.

use loam_kernels::Error;
use loam_kernels::backend::{Expand, Lora, Shrink};
use loam_kernels::cpu::CpuStep;

use super::{Fault, Planted, again, scaled, without_last_column};
use crate::values::Values;

impl Lora for Planted {
    fn lora_shrink(&self, step: &CpuStep, mut op: Shrink<'_, Self>) -> Result<(), Error> {
        let pairs = step.as_ref().pairs(op.set).pairs().len();
        let before = self.view(&op.h.reading())?;
        let x = match &op.x {
            Some(x) if self.fault == Fault::ShrinkSkipsTheLastInput => Some(self.changed(x, without_last_column)?),
            _ => None,
        };
        let x = x.as_ref().map(|x| x.reading()).transpose()?.or(op.x);
        let whole = Shrink { adapters: op.adapters, site: op.site, set: op.set, x, h: again(&mut op.h)? };
        self.cpu.lora_shrink(step, whole)?;
        let rows = |h: &mut Values, to: usize, from: &Values, of: usize| {
            (0..h.width).for_each(|column| h.set(to, column, from.at(of, column)));
        };
        match self.fault {
            Fault::ShrinkSwapsPairs if pairs > 1 => self.spoil(&mut op.h, |h| {
                let right = h.clone();
                rows(h, 0, &right, pairs - 1);
                rows(h, pairs - 1, &right, 0);
            }),
            Fault::ShrinkIsScaled => self.spoil(&mut op.h, scaled),
            Fault::ShrinkLeavesTheLastPair if pairs > 0 => {
                self.spoil(&mut op.h, |h| rows(h, pairs - 1, &before, pairs - 1))
            }
            _ => Ok(()),
        }
    }

    fn lora_expand(&self, step: &CpuStep, mut op: Expand<'_, Self>) -> Result<(), Error> {
        let pairs = step.as_ref().pairs(op.set);
        let fault = self.fault;
        let h = self.changed(&op.h, |h| match fault {
            Fault::ExpandBeginsOneRankLate => {
                for row in 0..h.rows {
                    let right = h.row(row);
                    (1..h.width).for_each(|column| h.set(row, column - 1, right[column]));
                }
            }
            Fault::ExpandSkipsTheLastRank => {
                for row in 0..h.rows {
                    // Poison begins behind a pair's own ranks.
                    let own = h.row(row).iter().take_while(|value| !value.is_nan()).count();
                    (own.saturating_sub(1)..own).for_each(|column| h.set(row, column, 0.0));
                }
            }
            Fault::ExpandIsScaled => scaled(h),
            Fault::ExpandForgetsWeights => {
                for (row, pair) in pairs.pairs().iter().enumerate() {
                    let weight = f64::from(pair.weight);
                    (0..h.width).for_each(|column| h.set(row, column, h.at(row, column) / weight));
                }
            }
            Fault::ExpandTakesOnlyTheFirstAdapter => {
                for (row, pair) in pairs.pairs().iter().enumerate() {
                    if pairs.of_row(pair.row as usize)[0] as usize != row {
                        (0..h.width).for_each(|column| h.set(row, column, 0.0));
                    }
                }
            }
            _ => {}
        })?;
        let Expand { adapters, site, set, .. } = op;
        self.cpu.lora_expand(step, Expand { adapters, site, set, h: h.reading()?, delta: again(&mut op.delta)? })?;
        if fault == Fault::ExpandClearsRowsWithoutAdapters {
            return self.spoil(&mut op.delta, |delta| {
                for row in (0..delta.rows).filter(|row| pairs.of_row(*row).is_empty()) {
                    (0..delta.width).for_each(|column| delta.set(row, column, 0.0));
                }
            });
        }
        Ok(())
    }
}
