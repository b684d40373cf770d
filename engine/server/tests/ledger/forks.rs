//! A dataset that was forked, and joined again from the command line.

use serde_json::Value;

use crate::datanet::{Scene, string};

/// Revisions that nothing goes on from.
fn heads(scene: &Scene, at: &str) -> Vec<String> {
    let shown = scene.asked(&["show", "clinic", "--revision", at]);
    shown["heads"].as_array().expect("a list").iter().map(string).collect()
}

/// Two heads become one again; where both changed a row, somebody says which work is left out.
#[test]
fn what_does_not_fit_is_left_out_by_name() {
    let scene = Scene::with(&["ann", "ben"]);
    scene.dataset("clinic");
    scene.committed("clinic", "ann", "ben", "{\"q\": \"Come back\"}\n{\"q\": \"Drink water\"}\n");
    let row = scene.row_with("clinic", "Come");
    let [_, two] = ["one", "two"].map(|words| {
        let edit = scene.file("edit.jsonl", format!(r#"{{"act":"correct","row":"{row}","to":{{"q":"{words}"}}}}"#));
        let offered = scene.says("ann", &["propose", "clinic", &edit, "--revision", "1"]);
        let contribution = string(&offered["contribution"]);
        scene.says("operator", &["commit", "clinic", &contribution, "--revision", "1"]);
        contribution
    });
    let [first, second] = &heads(&scene, "1")[..] else { panic!("two stand side by side") };
    let unfit = scene.refused("operator", &["commit", "clinic", "--join", second]);
    assert!(unfit.contains("both sides changed the same rows") && unfit.contains(&two[..8]), "{unfit}");
    let leave = ["commit", "clinic", "--join", second, "--leave"];
    let unknown = scene.refused("operator", &[&leave[..], &["00000000"]].concat());
    assert!(unknown.contains("would bring"), "{unknown}");
    let last = scene.says("operator", &[&leave[..], &[&two]].concat());
    assert_eq!((last["joined"].as_str(), last["changed"].as_u64()), (Some(&**second), Some(0)));
    let shown = scene.asked(&["show", "clinic"]);
    assert_eq!(shown["heads"], Value::from(vec![string(&last["revision"])]));
    assert!(shown["first_rows"].to_string().contains("one") && !shown["first_rows"].to_string().contains("two"));
    let again = scene.refused("operator", &["commit", "clinic", "--revision", "3", "--join", first]);
    assert!(again.contains("goes on from") && again.contains("nothing is to be joined"), "{again}");
}

/// Of work that fits nothing is left out, and whose it is stays said.
#[test]
fn a_forked_dataset_has_one_head_again() {
    let scene = Scene::with(&["ann", "ben"]);
    scene.dataset("clinic");
    scene.committed("clinic", "ann", "ben", "{\"q\": \"Come back\"}\n{\"q\": \"Drink water\"}\n");
    let file = |name: &str, words: &str| scene.file(name, format!(r#"{{"q": "{words}"}}"#));
    for (who, words) in [("ann", "Open your mouth"), ("ben", "Breathe in")] {
        let offered = scene.says(who, &["add", "clinic", &file("more.jsonl", words), "--revision", "1"]);
        scene.says("operator", &["commit", "clinic", &string(&offered["contribution"]), "--revision", "1"]);
    }
    let heads = heads(&scene, "1");
    let last = scene.says("operator", &["commit", "clinic", "--revision", &heads[0], "--join", &heads[1]]);
    assert_eq!((last["number"].as_u64(), last["added"].as_u64()), (Some(3), Some(1)));
    let shown = scene.asked(&["show", "clinic"]);
    assert_eq!((shown["rows"].as_u64(), shown["contributors"].as_u64()), (Some(4), Some(2)));
    let log = scene.read(&["log", "clinic"]);
    assert!(log.contains(&format!("joining {}", &heads[1][..8])), "{log}");
    assert!(scene.read(&["blame", "clinic", &scene.row_with("clinic", "Breathe")]).contains(&scene.who("ben")[..8]));
    scene.committed("clinic", "ann", "ben", r#"{"q": "and goes on"}"#);
}
