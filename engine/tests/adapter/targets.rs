//! Which modules PEFT's rules choose, at which ranks and alphas: what its own functions answered, over a small model.

use std::path::Path;

use loam_engine::Error;
use loam_engine::adapter::PeftConfig;

use crate::folder::{config, small_sites};

/// What a configuration with `r` 2 and `lora_alpha` 4 chooses: each module by its layer and first letter, the head as `H`,
/// the embedding as `E`; rank and alpha follow where they are others.
fn chosen(fields: &str) -> String {
    let sites = small_sites();
    let config = PeftConfig::parse(Path::new("adapter_config.json"), config(fields).as_bytes()).unwrap();
    let words = config.choose(&sites).unwrap().into_iter().map(|chosen| {
        let module = &sites.modules()[chosen.module];
        let name = match (module.layer, module.path.rsplit('.').next().unwrap()) {
            (Some(layer), name) => format!("{layer}{}", &name[..1]),
            (None, "lm_head") => "H".to_owned(),
            (None, _) => "E".to_owned(),
        };
        match (chosen.rank, chosen.scale * chosen.rank as f32) {
            (2, 4.0) => name,
            (rank, alpha) => format!("{name}:{rank}:{alpha}"),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(fields: &str, expected: &str) {
    assert_eq!(chosen(fields), expected);
}

#[track_caller]
fn check_refused(fields: &str, field: &str) {
    let config = PeftConfig::parse(Path::new("adapter_config.json"), config(fields).as_bytes());
    match config.and_then(|config| config.choose(&small_sites())) {
        Err(Error::Field { field: found, .. }) => assert_eq!(found, field, "{fields}"),
        other => panic!("{fields}: {other:?}"),
    }
}

#[test]
fn a_name_is_the_end_of_a_path_after_a_dot() {
    let fields = r#""target_modules": ["q_proj", "mlp.down_proj"]"#;
    check(fields, "0q 0d 1q 1d 2q 2d");
}

#[test]
fn a_whole_path_chooses_one_module() {
    let fields = r#""target_modules": ["model.layers.1.mlp.up_proj", "lm_head"]"#;
    check(fields, "1u H");
}

#[test]
fn a_part_of_a_name_is_no_ending() {
    let fields =
        r#""target_modules": ["q_proj", "layers.2.self_attn.k_proj"], "exclude_modules": ["proj", "attn.q_proj"]"#;
    check(fields, "0q 1q 2q 2k");
}

#[test]
fn a_pattern_must_match_the_whole_path() {
    let fields = r#""target_modules": ".*[02]\\.self_attn\\.(q|v)_proj""#;
    check(fields, "0q 0v 2q 2v");
}

#[test]
fn a_pattern_without_a_beginning_matches_a_path_without_one() {
    let fields = r#""target_modules": "lm_head|q_proj""#;
    check(fields, "H");
}

#[test]
fn a_pattern_with_lookaround() {
    let fields = r#""target_modules": "model\\.(?!layers\\.1\\.).*(?<=mlp\\.)(gate|up)_proj""#;
    check(fields, "0g 0u 2g 2u");
}

#[test]
fn a_pattern_with_a_backreference() {
    let fields = r#""target_modules": ".*\\.(\\d)\\..*(?P<x>[ko])_proj|(.)m_head""#;
    check(fields, "0k 0o 1k 1o 2k 2o H");
}

#[test]
fn all_linear_is_every_linear_but_the_head() {
    let fields = r#""target_modules": "all-linear""#;
    check(fields, "0q 0k 0v 0o 0g 0u 0d 1q 1k 1v 1o 1g 1u 1d 2q 2k 2v 2o 2g 2u 2d");
}

#[test]
fn all_linear_with_exclusions() {
    let fields = r#""target_modules": "all-linear", "exclude_modules": ["mlp.up_proj", "down_proj", "model.layers.0.self_attn.o_proj"]"#;
    check(fields, "0q 0k 0v 0g 1q 1k 1v 1o 1g 2q 2k 2v 2o 2g");
}

#[test]
fn excluded_by_a_pattern() {
    let fields = r#""target_modules": ["q_proj", "k_proj", "embed_tokens"], "exclude_modules": ".*\\.[12]\\..*k_proj""#;
    check(fields, "0q 0k 1q 2q E");
}

#[test]
fn an_excluded_pattern_matches_whole_paths() {
    let fields = r#""target_modules": ["q_proj"], "exclude_modules": "q_proj|model""#;
    check(fields, "0q 1q 2q");
}

#[test]
fn exclusion_wins_over_a_whole_path() {
    let fields =
        r#""target_modules": ["model.layers.0.mlp.up_proj", "up_proj"], "exclude_modules": ["layers.0.mlp.up_proj"]"#;
    check(fields, "1u 2u");
}

#[test]
fn layers_by_number() {
    let fields = r#""target_modules": ["q_proj", "o_proj"], "layers_to_transform": [2, 0]"#;
    check(fields, "0q 0o 2q 2o");
}

#[test]
fn one_layer_without_a_list() {
    let fields = r#""target_modules": ["q_proj"], "layers_to_transform": 1"#;
    check(fields, "1q");
}

#[test]
fn no_layers_are_all_layers() {
    let fields = r#""target_modules": ["q_proj"], "layers_to_transform": []"#;
    check(fields, "0q 1q 2q");
}

#[test]
fn a_whole_path_is_not_held_against_layers() {
    let fields = r#""target_modules": ["model.layers.0.mlp.up_proj", "down_proj"], "layers_to_transform": [1]"#;
    check(fields, "0u 1d");
}

#[test]
fn what_has_no_layer_is_left_out_with_layers() {
    let fields = r#""target_modules": ["q_proj", "embed_tokens"], "layers_to_transform": [1]"#;
    check(fields, "1q");
}

#[test]
fn the_head_is_a_whole_path_whatever_the_layers() {
    let fields = r#""target_modules": ["q_proj", "lm_head"], "layers_to_transform": [1]"#;
    check(fields, "1q H");
}

#[test]
fn layers_pattern_by_name() {
    let fields = r#""target_modules": ["k_proj"], "layers_to_transform": [1, 2], "layers_pattern": "layers""#;
    check(fields, "1k 2k");
}

#[test]
fn layers_pattern_of_several() {
    let fields = r#""target_modules": ["k_proj"], "layers_to_transform": [0], "layers_pattern": ["h", "lay[a-z]+"]"#;
    check(fields, "0k");
}

#[test]
fn an_empty_layers_pattern_is_none() {
    let fields = r#""target_modules": ["k_proj"], "layers_to_transform": [0], "layers_pattern": []"#;
    check(fields, "0k");
}

#[test]
fn rank_by_ending() {
    let fields =
        r#""target_modules": ["q_proj", "k_proj", "up_proj"], "rank_pattern": {"q_proj": 5, "mlp.up_proj": 7}"#;
    check(fields, "0q:5:4 0k 0u:7:4 1q:5:4 1k 1u:7:4 2q:5:4 2k 2u:7:4");
}

#[test]
fn the_first_pattern_wins_in_the_files_order() {
    let fields = r#""target_modules": ["q_proj", "k_proj"], "rank_pattern": {"layers.1.self_attn.q_proj": 9, "q_proj": 5, "model.layers.2.self_attn.q_proj": 11}, "alpha_pattern": {"q_proj": 1, "layers.1.self_attn.q_proj": 3}"#;
    check(fields, "0q:5:1 0k 1q:9:1 1k 2q:5:1 2k");
}

#[test]
fn a_pattern_key_stands_after_a_dot_or_at_the_start() {
    let fields = r#""target_modules": ["q_proj", "up_proj"], "rank_pattern": {"_proj": 9, "proj": 9, "odel.layers.0.mlp.up_proj": 9, "model.layers.1.mlp.up_proj": 3}"#;
    check(fields, "0q 0u 1q 1u:3:4 2q 2u");
}

#[test]
fn a_key_held_to_the_start() {
    let fields = r#""target_modules": ["q_proj"], "rank_pattern": {"^q_proj": 9, "^model.layers.1.self_attn.q_proj": 6, "^layers.2.self_attn.q_proj": 8}"#;
    check(fields, "0q 1q:6:4 2q");
}

#[test]
fn a_dot_in_a_key_is_any_character() {
    let fields = r#""target_modules": ["q_proj", "v_proj"], "rank_pattern": {"self.attn.q.proj": 9, "v.pro": 3}"#;
    check(fields, "0q:9:4 0v 1q:9:4 1v 2q:9:4 2v");
}

#[test]
fn keys_are_patterns() {
    let fields = r#""target_modules": ["q_proj", "v_proj"], "rank_pattern": {".*\\.[01]\\.self_attn\\.(q|k)_proj": 6}, "alpha_pattern": {"layers\\.\\d+\\.self_attn\\.v_proj": 0.5, "[^q]_proj": 32}"#;
    check(fields, "0q:6:4 0v:2:0.5 1q:6:4 1v:2:0.5 2q 2v:2:0.5");
}

#[test]
fn keys_that_end_in_an_alternative() {
    let fields =
        r#""target_modules": ["q_proj", "v_proj"], "rank_pattern": {"q_proj|x": 6}, "alpha_pattern": {"x|v_proj": 8}"#;
    check(fields, "0q:6:4 0v:2:8 1q:6:4 1v:2:8 2q:6:4 2v:2:8");
}

#[test]
fn alpha_falls_back_by_itself() {
    let fields =
        r#""target_modules": ["q_proj", "v_proj"], "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"v_proj": 12.5}"#;
    check(fields, "0q:4:4 0v:2:12.5 1q:4:4 1v:2:12.5 2q:4:4 2v:2:12.5");
}

#[test]
fn a_name_that_is_nowhere_is_refused() {
    check_refused(r#""target_modules": ["q_proj", "query"]"#, "target_modules");
    check_refused(r#""target_modules": ["proj"]"#, "target_modules");
    check_refused(r#""target_modules": [""]"#, "target_modules");
}

#[test]
fn a_choice_of_nothing_is_refused() {
    check_refused(r#""target_modules": []"#, "target_modules");
    check_refused(r#""target_modules": """#, "target_modules");
    check_refused(r#""target_modules": null"#, "target_modules");
    check_refused(r#""target_modules": "layers""#, "target_modules");
    check_refused(r#""target_modules": ["q_proj"], "exclude_modules": ["self_attn.q_proj"]"#, "target_modules");
    check_refused(r#""target_modules": ["q_proj"], "layers_to_transform": [3]"#, "target_modules");
    check_refused(
        r#""target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "h""#,
        "target_modules",
    );
}

#[test]
fn layers_go_with_lists_only() {
    check_refused(r#""target_modules": ".*q_proj", "layers_to_transform": [1]"#, "layers_to_transform");
    check_refused(r#""target_modules": "all-linear", "layers_to_transform": 1"#, "layers_to_transform");
    check_refused(r#""layers_to_transform": "1""#, "layers_to_transform");
    check_refused(r#""layers_to_transform": [1.5]"#, "layers_to_transform");
    check_refused(r#""layers_pattern": "layers""#, "layers_pattern");
    check_refused(r#""layers_to_transform": [1], "layers_pattern": 3"#, "layers_pattern");
    // Its group would be taken for the layer's number.
    check_refused(r#""layers_to_transform": [1], "layers_pattern": "(layers)""#, "layers_pattern");
}

#[test]
fn ranks_and_alphas_are_numbers_that_can_be_computed() {
    for rank in ["0", "-1", "8.0", "1e2", "\"8\"", "true", "null", "[8]", "4294967296", "257"] {
        check_refused(&format!(r#""r": {rank}"#), "r");
        check_refused(&format!(r#""rank_pattern": {{"q_proj": {rank}}}"#), "rank_pattern");
    }
    for alpha in ["\"8\"", "null", "true", "[]", "1e60"] {
        check_refused(&format!(r#""lora_alpha": {alpha}"#), "lora_alpha");
        check_refused(&format!(r#""alpha_pattern": {{"q_proj": {alpha}}}"#), "alpha_pattern");
    }
    check_refused(r#""rank_pattern": ["q_proj", 4]"#, "rank_pattern");
    check_refused(r#""alpha_pattern": 4"#, "alpha_pattern");
}

#[test]
fn a_rank_above_the_kernels_is_only_refused_where_it_is_used() {
    check(r#""r": 1000, "rank_pattern": {"q_proj": 256}"#, "0q:256:4 1q:256:4 2q:256:4");
    check(r#""rank_pattern": {"k_proj": 1000}"#, "0q 1q 2q");
}

#[test]
fn ranks_and_alphas_have_pefts_defaults() {
    let text = r#"{"peft_type": "LORA", "target_modules": ["q_proj"]}"#;
    let config = PeftConfig::parse(Path::new("adapter_config.json"), text.as_bytes()).unwrap();
    let chosen = config.choose(&small_sites()).unwrap();
    assert!(chosen.iter().all(|chosen| (chosen.rank, chosen.scale) == (8, 1.0)));
}

#[test]
fn scales_are_rounded_once() {
    let config = |fields: &str| {
        let config = PeftConfig::parse(Path::new("adapter_config.json"), config(fields).as_bytes()).unwrap();
        config.choose(&small_sites()).unwrap()[0].scale
    };
    assert_eq!(config(r#""r": 3, "lora_alpha": 0.1"#), (0.1_f64 / 3.0) as f32);
    assert_eq!(config(r#""r": 3, "lora_alpha": 16, "use_rslora": true"#), (16.0 / 3.0_f64.sqrt()) as f32);
    assert_eq!(config(r#""r": 4, "lora_alpha": -2.0"#), -0.5);
    assert_eq!(config(r#""r": 4, "lora_alpha": 0"#), 0.0);
}

/// What Python and we might read differently is refused: a scale for the wrong module would be noticed by nobody.
#[test]
fn patterns_of_uncertain_meaning_are_refused() {
    for pattern in [
        r"[[:alpha:]]_proj",
        r"[a&&b]",
        r"[a--b]",
        r"\\h+",
        r"\\<q_proj",
        r"q\\>",
        r"\\p{L}_proj",
        r"\\x71",
        r"(?i)q_proj",
        r"(?x) q",
        r"(?(1)a|b)",
        r"(?#note)q",
        r"q{,3}",
        r"a{2}+",
        r"\\z",
        r"\\G",
        r"\\K",
        r"(q",
        r"q)|(?:v",
        r"*",
        r"\\",
        r"[q",
        r"(?<n>q)",
        r"[\\b]",
        r"\\0",
        r"\\bq{1001}{1001}{1001}",
        r"q_proj\\R",
    ] {
        check_refused(&format!(r#""target_modules": ".*{pattern}""#), "target_modules");
        check_refused(&format!(r#""exclude_modules": ".*{pattern}""#), "exclude_modules");
        if pattern != r"q)|(?:v" {
            check_refused(&format!(r#""rank_pattern": {{"{pattern}": 3}}"#), "rank_pattern");
            check_refused(&format!(r#""alpha_pattern": {{"{pattern}": 3}}"#), "alpha_pattern");
        }
    }
}

/// Nested repetitions before a backreference: what a backtracking engine would be busy with for years.
#[test]
fn a_pattern_that_never_ends_is_refused() {
    let hostile = r"((.*)*)*\\2\\1x";
    check_refused(&format!(r#""target_modules": "{hostile}""#), "target_modules");
    check_refused(&format!(r#""alpha_pattern": {{"{hostile}": 3}}"#), "alpha_pattern");
    let long = "x".repeat(20_000);
    check_refused(&format!(r#""target_modules": "{long}""#), "target_modules");
    let keys = |count: usize, key: &str| {
        let keys: Vec<String> = (0..count).map(|number| format!(r#""{key}{number}": 3"#)).collect();
        format!(r#""rank_pattern": {{{}}}"#, keys.join(","))
    };
    check(&keys(4096, "name"), "0q 1q 2q");
    check_refused(&keys(4097, "name"), "rank_pattern");
    check(&keys(256, "[n]ame"), "0q 1q 2q");
    check_refused(&keys(257, "[n]ame"), "rank_pattern");
}
