//! The settings as clap has them: what `loam serve` and `loam config show` take.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::table::{Kind, MODEL_NAME, Otherwise, SETTINGS, Setting};

/// Below the options: how else they can be said.
const ELSEWHERE: &str = "\
Each option can also be said in the environment (--max-model-len as LOAM_MAX_MODEL_LEN; the model as LOAM_MODEL)
and in the file of --config (max_model_len = 4096). The command line goes first, then the environment, then the file.

Options that take several values are repeated, or given several after each other (--pin a b). In the environment such
values stand on lines of their own, or between commas where there is one line; in the file they are an array. An empty
variable counts as not set.

`loam config show` takes the same options, and prints what holds and who says so.";

/// What was given on the command line. It takes part in a derived command as any struct of arguments does.
pub(crate) struct Given {
    /// As clap has it.
    pub(crate) matches: ArgMatches,
}

impl clap::FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { matches: matches.clone() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.matches = matches.clone();
        Ok(())
    }
}

impl clap::Args for Given {
    fn augment_args(command: Command) -> Command {
        let ignored = Arg::new(ENABLE_LORA).long(ENABLE_LORA).hide(true).action(ArgAction::SetTrue);
        command.args(SETTINGS.iter().map(argument)).arg(ignored).after_help(ELSEWHERE)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// A flag of vLLM's, without which it serves no adapters.
const ENABLE_LORA: &str = "enable-lora";

/// What was said and changes nothing, as warnings.
pub(crate) fn ignored(matches: &ArgMatches) -> Option<String> {
    let said = matches.get_flag(ENABLE_LORA);
    said.then(|| format!("--{ENABLE_LORA} is not needed here: adapters are always served"))
}

/// The values of a setting on the command line. Defaults are no business of clap's: it could not say whose they are.
pub(crate) fn on_command_line(matches: &ArgMatches, setting: &Setting) -> Option<Vec<String>> {
    matches.get_many::<String>(setting.name).map(|values| values.cloned().collect())
}

fn argument(setting: &'static Setting) -> Arg {
    let argument = Arg::new(setting.name).help(help(setting));
    let argument = match setting.name {
        MODEL_NAME => argument,
        flag => argument.long(flag).help_heading(setting.heading),
    };
    match setting.kind {
        Kind::Text(value) | Kind::Number(value, ..) => argument.value_name(value),
        Kind::Choice(_) => argument.value_name("WORD"),
        Kind::Switch => {
            argument.value_name("true|false").num_args(0..=1).require_equals(true).default_missing_value("true")
        }
        Kind::Many(value) | Kind::Secrets(value) => argument.value_name(value).num_args(1..).action(ArgAction::Append),
    }
}

fn help(setting: &Setting) -> String {
    let (Otherwise::Is(default) | Otherwise::Means(default)) = setting.default;
    let words = match setting.kind {
        Kind::Choice(words) => words.iter().map(|word| word.word).collect::<Vec<_>>().join(", "),
        _ => String::new(),
    };
    let words = if words.is_empty() { words } else { format!(" [{words}]") };
    format!("{}{words} [default: {default}]", setting.help)
}
