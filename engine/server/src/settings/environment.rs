//! Variables that are ours by their names: a mistyped one would otherwise go unheard, as a mistyped key of the file does
//! not.

use std::ffi::OsString;

use super::error::SettingsError;
use super::table::SETTINGS;

/// What the names of all our variables begin with.
const PREFIX: &str = "LOAM_";

/// Variables of our other commands and tools.
const OTHERS: [&str; 12] = [
    "LOAM_URL",
    "LOAM_KEY",
    "LOAM_CA",
    "LOAM_DATA",
    "LOAM_FLOOR",
    "LOAM_RESERVE_BYTES",
    "LOAM_BIN",
    "LOAM_TEST_TIER",
    "LOAM_LIBCLANG",
    "LOAM_WRITE_EXAMPLES",
    "LOAM_WRITE_SESSIONS",
    "LOAM_WRITE_VECTORS",
];

/// Refuses a variable of ours that is no text, and warns of those that no setting has.
pub(crate) fn check_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<String>, SettingsError> {
    let mut warnings = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        let is_setting = SETTINGS.iter().any(|setting| setting.variable() == name);
        // What it holds may be a key: it is not shown.
        if is_setting && value.to_str().is_none() {
            return Err(SettingsError::Rule(format!("{name} is not UTF-8 text; set it anew, or unset it")));
        }
        if !is_setting && !OTHERS.contains(&name) {
            warnings.push(format!("{name} is set, and no setting is called so: `loam serve --help` lists them"));
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn checked(variables: &[(&str, &[u8])]) -> Result<Vec<String>, String> {
        let variables = variables.iter().map(|(name, value)| (name.into(), OsString::from_vec(value.to_vec())));
        check_environment(variables).map_err(|error| error.to_string())
    }

    #[test]
    fn a_variable_that_is_no_text_is_refused_by_its_name() {
        let said = checked(&[("LOAM_API_KEY", b"\xff\xfe")]).unwrap_err();
        assert!(said.contains("LOAM_API_KEY"), "{said}");
        assert_eq!(checked(&[("HOME", b"\xff"), ("LOAM_KEY", b"\xff")]), Ok(Vec::new()), "not the server's");
    }

    #[test]
    fn a_mistyped_variable_is_warned_of() {
        let warnings = checked(&[("LOAM_PROT", b"1"), ("LOAM_PORT", b"1"), ("LOAM_BIN", b"x"), ("PATH", b"x")]);
        let warnings = warnings.unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("LOAM_PROT"), "{warnings:?}");
    }
}
