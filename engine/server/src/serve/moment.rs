//! How the server stands when somebody scrapes it.

use std::time::{SystemTime, UNIX_EPOCH};

use loam_engine::adapter::pool::Tier;
use loam_ledger::{Error, Ledger};

use super::node::{Node, Standing};
use crate::metrics::{AdapterNow, LedgerNow, Level, Moment, render};

/// The page for Prometheus.
pub(super) fn metrics_text(node: &Node) -> String {
    render(&node.meters, &moment(node))
}

fn moment(node: &Node) -> Moment {
    let limits = node.engine.limits().step;
    let resident = node.engine.adapters().iter().filter(|counts| counts.residency.device == Tier::Here).count();
    let counted = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
    let started_seconds = node.started_s as f64;
    Moment {
        now_seconds: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        started_seconds,
        model_name: node.names.first().cloned().unwrap_or_default(),
        engine: node.engine.metrics(),
        pages: counted(limits.pages),
        page_tokens: counted(limits.page_tokens),
        slots: limits.slots,
        slots_used: resident,
        adapters: node.adapters().into_iter().map(adapter).collect(),
        ledger: node.ledger.as_deref().map(|ledger| record(node, ledger)),
    }
}

fn adapter(standing: Standing) -> AdapterNow {
    let level = standing.counts.and_then(|counts| match (counts.residency.device, counts.residency.host) {
        (Tier::Here, _) => Some(Level::Device),
        (_, Tier::Here) => Some(Level::Host),
        _ => None,
    });
    AdapterNow {
        level,
        pinned: standing.listed.pinned,
        running: standing.counts.map_or(0, |counts| counts.running),
        waiting: standing.counts.map_or(0, |counts| counts.waiting),
        name: standing.listed.name,
    }
}

/// Where the record stands. What cannot be read is left at nothing: a failed ledger says so in a metric of its own, and
/// must not take the page away that tells of it.
fn record(node: &Node, ledger: &Ledger) -> LedgerNow {
    let mut now = LedgerNow {
        backlog_steps: node.engine.steps_ahead() as u64,
        free_bytes: ledger.free_bytes().unwrap_or(0),
        reserve_bytes: node.settings.ledger.as_ref().map_or(0, |ledger| ledger.reserve_bytes),
        failed: ledger.health().is_err(),
        ..LedgerNow::default()
    };
    for log in ledger.logs() {
        let sizes = || Ok::<_, Error>((ledger.size(log)?, ledger.signed_size(log)?.unwrap_or(0)));
        if let Ok((size, signed)) = sizes() {
            now.publish_lag_entries += size.saturating_sub(signed);
            now.entries.push((log.to_string(), size));
        }
    }
    now
}
