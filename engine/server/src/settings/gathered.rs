//! What was said from everywhere, put together: a value and an origin for each setting.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ArgMatches;

use super::command::on_command_line;
use super::error::SettingsError;
use super::file;
use super::table::{CONFIG, MODEL_NAME, SETTINGS, Setting};
use super::value::{Origin, Said, Value};

/// Reads a variable of the environment.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;
/// Reads a file.
pub(crate) type ReadFile<'a> = &'a dyn Fn(&Path) -> std::io::Result<String>;

/// All settings, each with its origin; of the right kinds, but not yet held against each other.
pub(crate) struct Gathered {
    said: BTreeMap<&'static str, Said>,
    /// Where this user's caches lie, where the environment says so.
    pub(crate) caches: Option<PathBuf>,
}

impl Gathered {
    /// Flags first, then the environment, then the file, then defaults. This touches nothing but what it is given.
    pub(crate) fn gather(
        matches: &ArgMatches,
        environment: Environment<'_>,
        read_file: ReadFile<'_>,
    ) -> Result<Self, SettingsError> {
        let nearer = |setting: &Setting| match on_command_line(matches, setting) {
            Some(texts) => Said::read(setting, &texts, Origin::Flag(setting.flag())).map(Some),
            None => in_environment(setting, environment),
        };
        let config = nearer(Setting::named(CONFIG))?;
        let mut in_file = match &config {
            Some(Said { value: Value::Text(path), .. }) => {
                let text = read_file(Path::new(path));
                let failed =
                    |error: std::io::Error| SettingsError::File { path: path.clone(), reason: error.to_string() };
                file::read(path, &text.map_err(failed)?)?
            }
            _ => BTreeMap::new(),
        };
        let mut said = BTreeMap::new();
        for setting in SETTINGS {
            let found = nearer(setting)?.or_else(|| in_file.remove(setting.name));
            said.insert(setting.name, found.unwrap_or_else(|| Said::default(setting)));
        }
        let mut gathered = Self { said, caches: folder(environment, "XDG_CACHE_HOME", ".cache") };
        gathered.derive(folder(environment, "XDG_DATA_HOME", ".local/share").as_deref());
        Ok(gathered)
    }

    /// What holds for a setting, and who says so.
    pub(crate) fn said(&self, name: &str) -> &Said {
        &self.said[Setting::named(name).name]
    }

    /// Defaults that follow from what else was said.
    fn derive(&mut self, data: Option<&Path>) {
        let model = self.text(MODEL_NAME).map(PathBuf::from);
        let own = model.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()).map(str::to_owned);
        if let (Some(own), Value::Absent) = (own, &self.said("served-model-name").value) {
            self.set_default("served-model-name", Value::Many(vec![own]));
        }
        let served = self.many("served-model-name").first().map(|name| folder_name(name));
        if let (Some(served), Some(data), Value::Absent) = (served, data, &self.said("ledger").value)
            && let Some(folder) = data.join("loam").join(served).to_str()
        {
            self.set_default("ledger", Value::Text(folder.to_owned()));
        }
    }

    fn set_default(&mut self, name: &'static str, value: Value) {
        self.said.insert(name, Said { value, origin: Origin::Default });
    }
}

/// A model's name as the name of a folder.
fn folder_name(served: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = served.chars().map(plain).collect();
    // No hidden folder, and none that is another's parent.
    if name.starts_with('.') { format!("model{name}") } else { name }
}

/// A folder of this user's: where a variable says, or where it is when none does.
fn folder(environment: Environment<'_>, variable: &str, in_home: &str) -> Option<PathBuf> {
    let named = environment(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    named.or_else(|| environment("HOME").filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(in_home)))
}

fn in_environment(setting: &Setting, environment: Environment<'_>) -> Result<Option<Said>, SettingsError> {
    let variable = setting.variable();
    match environment(&variable).filter(|text| !text.trim().is_empty()) {
        Some(text) => {
            let texts = if setting.kind.is_many() { several(&text) } else { vec![text] };
            Said::read(setting, &texts, Origin::Variable(variable)).map(Some)
        }
        None => Ok(None),
    }
}

/// Several values in one text: a line each, or between commas where there is one line. JSON has commas of its own.
fn several(text: &str) -> Vec<String> {
    let text = text.trim();
    let between = if text.contains('\n') || text.starts_with('{') { '\n' } else { ',' };
    text.split(between).map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// Values as their kinds have them. The table says which kind a setting is of, so that any other is a mistake of ours.
impl Gathered {
    /// A text, where one holds.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match &self.said(name).value {
            Value::Text(text) => Some(text),
            Value::Absent => None,
            _ => panic!("{name} is not a text in the table"),
        }
    }

    /// A text that has a default.
    pub(crate) fn word(&self, name: &str) -> &str {
        self.text(name).expect("the table has a default for every word")
    }

    /// A number, where one holds.
    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        match &self.said(name).value {
            Value::Number(number) => Some(usize::try_from(*number).unwrap_or(usize::MAX)),
            Value::Absent => None,
            _ => panic!("{name} is not a number in the table"),
        }
    }

    /// A number that has a default.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.number(name).expect("the table has a default for every count")
    }

    /// Whether a switch is on.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        match &self.said(name).value {
            Value::Switch(on) => *on,
            _ => panic!("{name} is not a switch in the table"),
        }
    }

    /// A list, empty where nothing was said.
    pub(crate) fn many(&self, name: &str) -> &[String] {
        match &self.said(name).value {
            Value::Many(many) => many,
            Value::Absent => &[],
            _ => panic!("{name} is not a list in the table"),
        }
    }
}
