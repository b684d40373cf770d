//! How much is tried: the fast tier with every change, the long one before a part is called done.
#![allow(dead_code, reason = "each test uses the part that it needs")]

use std::env;

use proptest::test_runner::Config;

/// So many times in the fast tier, and twenty times as many in the long one.
pub(crate) fn times(fast: usize) -> usize {
    let long = env::var("LOAM_TEST_TIER").is_ok_and(|tier| tier == "long");
    if long { 20 * fast } else { fast }
}

/// 256 cases of each property in the fast tier, unless PROPTEST_CASES says otherwise.
pub(crate) fn cases() -> Config {
    let mut config = Config {
        // A finding becomes a named test; no file of seeds stays behind.
        failure_persistence: None,
        ..Config::default()
    };
    if env::var_os("PROPTEST_CASES").is_none() {
        config.cases = u32::try_from(times(256)).expect("a few thousand");
    }
    config
}
