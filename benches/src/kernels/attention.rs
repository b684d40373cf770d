//! Attention: in decode the pages come from memory, in prefill arithmetic takes the time.

use super::Bench;
use crate::contest::contest;
use crate::counts::{counted, float};
use crate::paged::{Case, HEAD_DIM, KV_HEADS, PAGE_TOKENS, Q_HEADS};

/// Pages hold at least so much, in as many layers as it takes, so that none is met in cache again.
const PAGES_BYTES: usize = 512 << 20;

impl Bench<'_> {
    pub(super) fn attention(&mut self) -> anyhow::Result<()> {
        for &tokens in self.some(&[1024, 8192]) {
            for requests in if self.quick { vec![8] } else { vec![1, 8, 32] } {
                self.decode_attention(&Case { requests, tokens, rows: 1 })?;
            }
        }
        for &tokens in self.some(&[1024, 4096]) {
            self.prefill_attention(&Case { requests: 1, tokens, rows: tokens })?;
        }
        Ok(())
    }

    fn decode_attention(&mut self, case: &Case) -> anyhow::Result<()> {
        let layer_bytes = case.layer_bytes();
        let layers = PAGES_BYTES.div_ceil(layer_bytes);
        let kv = case.pages(self.cpu, layers)?;
        let mut ours = case.contestant(self.cpu, &kv, 1)?;
        let mut reading = self.roofs.large_pages.contestant();
        let times = contest(self.rounds(), &mut [&mut reading, &mut ours])?;
        let name = format!("decode attention, {} of {} tokens", counted(case.requests, "request"), case.tokens);
        let rate = float(layer_bytes) / times.median(1) / 1e9;
        let note = format!("{rate:.1} GB/s; {Q_HEADS}/{KV_HEADS} heads of {HEAD_DIM}, bf16 pages of {PAGE_TOKENS}");
        self.add(&name, times.ratio(0, 1) * float(layer_bytes), "of read rate", Some(1.0), note);
        Ok(())
    }

    fn prefill_attention(&mut self, case: &Case) -> anyhow::Result<()> {
        let kv = case.pages(self.cpu, 1)?;
        let mut ours = case.contestant(self.cpu, &kv, 1)?;
        let mut in_cache = self.roofs.in_cache_f32.contestant(self.cpu)?;
        let times = contest(self.rounds().min(3), &mut [&mut in_cache, &mut ours])?;
        // A row sees itself and all before it; each position costs a product with its key and one with its value.
        let positions = float(case.tokens) * float(case.tokens + 1) / 2.0;
        let operations = positions * float(Q_HEADS * HEAD_DIM * 2 * 2);
        let name = format!("prefill attention, {} tokens", case.tokens);
        let note = format!("{:.0} GF/s; of the rate in f32", operations / times.median(1) / 1e9);
        self.add(&name, times.ratio(0, 1) * operations, "of in-cache rate", Some(1.0), note);
        Ok(())
    }
}
