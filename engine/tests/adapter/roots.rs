//! Adapters come from their folders only, whatever links say, and files are files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use loam_engine::Error;
use loam_engine::adapter::{AdapterId, Catalog, CatalogOptions, Expected, NoBaseTensors, Source, Way};
use tempfile::TempDir;

use crate::folder::{config, q_tensors, refusal, safetensors, small_sites, write};

/// A root with the adapter `good`, and a folder beside the root with the adapter `secret`.
struct Place {
    top: TempDir,
    root: PathBuf,
}

impl Place {
    fn new() -> Self {
        let top = TempDir::new().unwrap();
        let root = top.path().join("root");
        let file = safetensors(&q_tensors("BF16"));
        write(&root.join("good"), &config(""), &file);
        write(&top.path().join("outside/secret"), &config(""), &file);
        Self { top, root }
    }

    fn catalog(&self, way: Way) -> Catalog {
        catalog(vec![self.root.clone()], way)
    }

    /// The same answer of the kernel and of the walk by hand.
    #[track_caller]
    fn check(&self, folder: impl AsRef<Path>, refused: Option<&str>) {
        for way in [Way::Any, Way::NameByName] {
            let found = register(&self.catalog(way), folder.as_ref());
            match refused {
                None => assert!(found.is_ok(), "{way:?}: {}", found.unwrap_err()),
                Some(text) => {
                    let found = refusal(found);
                    assert!(found.contains(text), "{way:?}: {found}");
                }
            }
        }
    }
}

fn catalog(roots: Vec<PathBuf>, way: Way) -> Catalog {
    let (sites, base) = (Arc::new(small_sites()), Arc::new(NoBaseTensors));
    Catalog::new(CatalogOptions { roots, way, dummies: false, rank_max: None, sites, base }).unwrap()
}

fn register(catalog: &Catalog, folder: &Path) -> Result<AdapterId, Error> {
    catalog.register("a", &Source::Folder(folder.to_owned()))
}

const OUTSIDE: Option<&str> = Some("leads out of the folders");

#[test]
fn what_lies_inside_is_found_by_either_path() {
    let place = Place::new();
    place.check(place.root.join("good"), None);
    place.check("good", None);
    place.check("./good/.", None);
    place.check("bad", Some("No such file"));
    place.check(place.root.join("bad"), Some("No such file"));
}

#[test]
fn what_lies_outside_is_not() {
    let place = Place::new();
    place.check(place.top.path().join("outside/secret"), OUTSIDE);
    place.check("../outside/secret", OUTSIDE);
    place.check("good/../good", OUTSIDE);
    place.check(place.root.join("../outside/secret"), OUTSIDE);
    place.check("/", OUTSIDE);
    place.check("/proc/self/cwd", OUTSIDE);
}

#[test]
fn links_out_are_refused() {
    let place = Place::new();
    let link = |to: &str, name: &str| symlink(to, place.root.join(name)).unwrap();
    link("../outside/secret", "relative");
    link(place.top.path().join("outside/secret").to_str().unwrap(), "absolute");
    link("relative", "twice");
    link("good/../../outside/secret", "winding");
    link("/proc/self/cwd", "magic");
    for name in ["relative", "absolute", "twice", "winding", "magic"] {
        place.check(name, OUTSIDE);
    }
    // Of an adapter inside, one file that is not.
    for (file, name) in [("adapter_config.json", "config"), ("adapter_model.safetensors", "tensors")] {
        let folder = place.root.join(name);
        fs::create_dir(&folder).unwrap();
        for other in ["adapter_config.json", "adapter_model.safetensors"] {
            let to = if other == file { "../../outside/secret/" } else { "../good/" };
            symlink(format!("{to}{other}"), folder.join(other)).unwrap();
        }
        place.check(name, OUTSIDE);
    }
    link("round", "round");
    place.check("round", Some("levels of symbolic links"));
}

/// Downloads are kept so: a folder of links to files that are named after their digests.
#[test]
fn links_that_stay_inside_are_followed() {
    let place = Place::new();
    let blobs = place.root.join("models/blobs");
    let snapshot = place.root.join("models/snapshots/1a2b");
    fs::create_dir_all(&blobs).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    for (number, file) in ["adapter_config.json", "adapter_model.safetensors"].iter().enumerate() {
        fs::copy(place.root.join("good").join(file), blobs.join(number.to_string())).unwrap();
        symlink(format!("../../blobs/{number}"), snapshot.join(file)).unwrap();
    }
    symlink("./snapshots/../snapshots/1a2b", place.root.join("models/latest")).unwrap();
    symlink("models/latest", place.root.join("current")).unwrap();
    for folder in ["models/snapshots/1a2b", "models/latest", "current"] {
        place.check(folder, None);
    }
}

#[test]
fn a_root_may_be_a_link_itself() {
    let place = Place::new();
    let link = place.top.path().join("link");
    symlink("root", &link).unwrap();
    for way in [Way::Any, Way::NameByName] {
        let catalog = catalog(vec![link.clone()], way);
        register(&catalog, &link.join("good")).unwrap();
        catalog.register("b", &Source::Folder(place.root.canonicalize().unwrap().join("good"))).unwrap();
    }
}

#[test]
fn the_first_root_that_has_it_is_taken() {
    let place = Place::new();
    let second = place.top.path().join("outside");
    let catalog = catalog(vec![place.root.clone(), second.clone()], Way::Any);
    for folder in [Path::new("good"), Path::new("secret"), &second.join("secret")] {
        catalog.load("a", &Source::Folder(folder.to_owned()), Expected::Anything).unwrap();
    }
    let missing = refusal(register(&catalog, Path::new("neither")));
    assert!(missing.contains("root/neither/adapter_config.json"), "{missing}");
}

#[test]
fn without_roots_an_adapter_may_come_from_anywhere() {
    let place = Place::new();
    let catalog = catalog(Vec::new(), Way::Any);
    register(&catalog, &place.top.path().join("root/../outside/secret")).unwrap();
}

#[test]
fn a_root_must_be_there() {
    let place = Place::new();
    for missing in ["missing", "root/good/adapter_config.json"] {
        let (sites, base) = (Arc::new(small_sites()), Arc::new(NoBaseTensors));
        let roots = vec![place.top.path().join(missing)];
        assert!(
            Catalog::new(CatalogOptions { roots, way: Way::Any, dummies: false, rank_max: None, sites, base }).is_err()
        );
    }
}

/// A pipe would hold whoever opens it until somebody writes.
#[test]
fn what_is_no_file_is_refused_at_once() {
    let place = Place::new();
    for (number, file) in ["adapter_config.json", "adapter_model.safetensors"].into_iter().enumerate() {
        let pipe = format!("pipe{number}");
        write(&place.root.join(&pipe), &config(""), &safetensors(&q_tensors("BF16")));
        let path = place.root.join(&pipe).join(file);
        fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        place.check(&pipe, Some("not a regular file"));
        let folder = format!("folder{number}");
        write(&place.root.join(&folder), &config(""), &safetensors(&q_tensors("BF16")));
        let path = place.root.join(&folder).join(file);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        place.check(&folder, Some("not a regular file"));
    }
    place.check("good/adapter_config.json", Some("Not a directory"));
}

#[test]
fn a_pickle_is_refused_with_the_reason() {
    let place = Place::new();
    for name in ["adapter_model.bin", "adapter_model.pt"] {
        let folder = place.root.join(name.replace('.', "-"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("adapter_config.json"), config("")).unwrap();
        place.check(&folder, Some("adapter_model.safetensors: No such file"));
        fs::write(folder.join(name), b"\x80\x04.").unwrap();
        place.check(&folder, Some("whoever reads one runs the code in it"));
    }
    // Beside the right file it harms nobody.
    fs::write(place.root.join("good/adapter_model.bin"), b"\x80\x04.").unwrap();
    place.check("good", None);
}

#[test]
fn a_configuration_has_an_end() {
    let place = Place::new();
    let long = format!("{}{}", config(""), " ".repeat(1 << 20));
    write(&place.root.join("long"), &long, &safetensors(&q_tensors("BF16")));
    place.check("long", Some("more than 1048576 bytes"));
}
