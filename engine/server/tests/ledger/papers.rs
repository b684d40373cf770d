//! Papers: what several people sign, one after the other.

use std::fs;
use std::path::Path;

use crate::datanet::{ROWS, Scene};
use crate::money::{done, not_done};
use crate::text;

/// A paper that names somebody twice could be read by nobody, and one that is recorded is of no more use.
#[test]
fn a_paper_is_written_and_signed_once() {
    let scene = Scene::with(&["ann", "ben"]);
    scene.dataset("clinic");
    let (rows, paper) = (scene.file("rows.jsonl", ROWS), scene.path("paper"));
    let [ann, ben] = ["ann", "ben"].map(|name| format!("{}=10%", scene.who(name)));
    let twice = scene.refused("ann", &["add", "clinic", &rows, "--with", &ben, "--with", &ben, "--paper", &paper]);
    assert!(twice.contains(&scene.who("ben")) && twice.contains("named twice"), "{twice}");
    let herself = scene.refused("ann", &["add", "clinic", &rows, "--with", &ann, "--paper", &paper]);
    assert!(herself.contains("signs first") && !Path::new(&paper).exists(), "{herself}");

    scene.told("ann", &["add", "clinic", &rows, "--with", &ben, "--paper", &paper]);
    let (data, keys) = (text(&scene.data), ["ann", "ben"].map(|name| scene.key(name)));
    let sign = |key| ["id", "sign", &paper, "--data", data, "--id", key];
    let recorded = done(&sign(&keys[1]));
    let written = fs::read(&paper).expect("the paper");
    let id = recorded.rsplit_once("record ").and_then(|(_, id)| id.split_once(',')).expect("its id").0;
    for key in &keys {
        let again = not_done(&sign(key));
        assert!(again.contains(&format!("is recorded already, as {id}: nothing is left to sign")), "{again}");
    }
    assert_eq!(fs::read(&paper).expect("the paper"), written);
}
