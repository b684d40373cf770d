//! What the probe of the same device found: the rates that the table's figures are held against.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

/// Figures of a probe, by name: `.bin/gpu_probe --out FILE` writes them.
#[derive(Default)]
pub(super) struct Roofs {
    figures: BTreeMap<String, f64>,
}

/// Shapes of a layer's GEMMs, as the probe calls them.
const OF_LAYER: [&str; 4] = ["qkv", "o", "gate_up", "down"];

impl Roofs {
    /// Reads a probe's file. A figure whose note voids it is not taken.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let told = || format!("{}: this is read as what gpu_probe --out wrote", path.display());
        Self::parse(&fs::read_to_string(path).with_context(told)?).with_context(told)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut figures = BTreeMap::new();
        // The last line of a probe that was ended may be cut short.
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n') && !line.trim().is_empty());
        for line in lines {
            let line: Value = serde_json::from_str(line)?;
            let name = line["figure"].as_str().context("a line without a figure's name")?;
            let void = ["WRONG", "DIFFER"].iter().any(|word| line["note"].as_str().unwrap_or("").contains(word));
            if let Some(value) = line["value"].as_f64().filter(|_| !void) {
                figures.insert(name.to_owned(), value);
            }
        }
        Ok(Self { figures })
    }

    /// Bytes a second that the device reads at best.
    pub(super) fn read_rate(&self) -> Option<f64> {
        let reads = |name: &str| name.starts_with("read_direct_") || name.starts_with("read_bulk_");
        let rates = self.figures.iter().filter(|(name, _)| reads(name)).map(|(_, rate)| rate * 1e9);
        rates.max_by(f64::total_cmp)
    }

    /// Seconds to read so many bytes.
    pub(super) fn reading(&self, bytes: f64) -> Option<f64> {
        Some(bytes / self.read_rate()?)
    }

    /// Seconds of a step's GEMMs at best, of the shape that the probe measures: so many layers over all rows, and the
    /// head over those that are sampled.
    pub(super) fn gemms(&self, layers: usize, rows: usize, sampled: usize) -> Option<f64> {
        let of = |shape: &str, rows: usize| self.figures.get(&format!("gemm_{shape}_m{rows}_us")).map(|us| us * 1e-6);
        let layer = OF_LAYER.iter().map(|shape| of(shape, rows)).sum::<Option<f64>>()?;
        Some(layer * crate::counts::float(layers) + of("head", sampled)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(figure: &str, value: &str, note: &str) -> String {
        format!("{{\"figure\":\"{figure}\",\"value\":{value},\"unit\":\"\",\"roof\":null,\"note\":\"{note}\"}}\n")
    }

    #[test]
    fn the_best_rate_that_holds_is_the_roof() {
        let text = line("read_direct_1gib_gb_s", "2900", "sums agree")
            + &line("read_bulk_8gib_gb_s", "3100", "sums agree")
            + &line("read_direct_8gib_gb_s", "9000", "SUMS DIFFER: the figure is void")
            + &line("read_bulk_4gib_gb_s", "null", "needs compute capability 9.0")
            + &line("copy_memcpy_8gib_gb_s", "9000", "");
        let roofs = Roofs::parse(&text).expect("it is whole");
        assert_eq!(roofs.read_rate(), Some(3.1e12));
        assert_eq!(roofs.reading(3.1e9), Some(1e-3));
        assert_eq!(Roofs::default().reading(1.0), None);
    }

    #[test]
    fn a_steps_gemms_are_its_layers_and_its_head() {
        let mut text: String = OF_LAYER.iter().map(|shape| line(&format!("gemm_{shape}_m8_us"), "10", "")).collect();
        text += &line("gemm_head_m4_us", "100", "");
        let roofs = Roofs::parse(&text).expect("it is whole");
        let seconds = roofs.gemms(2, 8, 4).expect("all are there");
        assert!((seconds - 180e-6).abs() < 1e-12, "{seconds}");
        assert_eq!((roofs.gemms(2, 16, 4), roofs.gemms(2, 8, 8)), (None, None));
    }

    #[test]
    fn a_line_cut_short_is_left_out_and_one_that_is_wrong_is_refused() {
        let text = line("read_direct_1gib_gb_s", "2900", "") + "{\"figure\":\"read_bu";
        assert_eq!(Roofs::parse(&text).expect("the first is whole").read_rate(), Some(2.9e12));
        assert!(Roofs::parse("no JSON\n").is_err());
    }
}
