//! [`Options`]: the options before the object.

use std::path::PathBuf;

use super::error::{CommandError, USAGE};
use super::tokens::{Tokens, abbreviates};

/// How to execute a command and how to print its result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) batch: Option<String>,
    pub(super) brief: bool,
    pub(super) colour: Colour,
    pub(super) details: bool,
    /// Continue a batch after a failed line.
    pub(super) force: bool,
    pub(super) human: bool,
    pub(super) iec: bool,
    pub(super) json: bool,
    pub(super) netns: Option<String>,
    /// Numbers in place of names.
    pub(super) numeric: bool,
    pub(super) oneline: bool,
    pub(super) pretty: bool,
    pub(super) socket: Option<PathBuf>,
    /// The number of `-s` options.
    pub(super) statistics: u8,
    pub(super) timestamp: Timestamp,
    pub(super) version: bool,
}

/// When text is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Colour {
    Always,
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    Never,
}

/// The form of the time before events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Timestamp {
    Long,
    #[default]
    None,
    Short,
}

impl Options {
    /// Parses options up to the object.
    pub(super) fn parse(words: &mut Tokens<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        while let Some(word) = words.peek()
            && let Some(option) = word.strip_prefix('-')
        {
            words.next();
            if word == "--" {
                break;
            }
            let option = option.strip_prefix('-').unwrap_or(option);
            if !options.set(option, words)? {
                let text = format!("Option \"{word}\" is unknown, try \"umacvlan -help\".");
                return Err(CommandError::new(USAGE, text));
            }
        }
        Ok(options)
    }

    /// Parses one option; false if it is unknown.
    fn set(&mut self, option: &str, words: &mut Tokens<'_>) -> Result<bool, CommandError> {
        if let Some(path) = option.strip_prefix("socket=") {
            self.socket = Some(path.into());
            return Ok(true);
        }
        if let Some((name, value)) = option.split_once('=') {
            return Ok(abbreviates(name, "color") && self.set_colour(value));
        }
        let Some(name) = named(option) else { return Ok(false) };
        match name {
            Name::Batch => self.batch = Some(words.value()?.to_owned()),
            Name::Brief => self.brief = true,
            Name::Color => self.colour = Colour::Always,
            Name::Details => self.details = true,
            Name::Force => self.force = true,
            Name::Help => return Err(super::help::usage()),
            Name::Human => self.human = true,
            Name::Iec => self.iec = true,
            Name::Json => self.json = true,
            Name::Netns => self.netns = Some(words.value()?.to_owned()),
            Name::Numeric => self.numeric = true,
            Name::Oneline => self.oneline = true,
            Name::Pretty => self.pretty = true,
            Name::Short => self.timestamp = Timestamp::Short,
            Name::Socket => self.socket = Some(words.value()?.into()),
            Name::Statistics => self.statistics = self.statistics.saturating_add(1),
            Name::Timestamp => self.timestamp = Timestamp::Long,
            Name::Version => self.version = true,
        }
        Ok(true)
    }

    fn set_colour(&mut self, when: &str) -> bool {
        self.colour = match when {
            "always" => Colour::Always,
            "auto" => Colour::Auto,
            "never" => Colour::Never,
            _ => return false,
        };
        true
    }
}

/// Whether the value of this option (without dashes) is the next word.
pub(super) fn takes_value(option: &str) -> bool {
    matches!(named(option), Some(Name::Batch | Name::Netns | Name::Socket))
}

/// The full names of the options, without dashes.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|&(name, _)| name)
}

/// Whether this option (without dashes) is `-batch`.
pub(super) fn is_batch(option: &str) -> bool {
    matches!(named(option), Some(Name::Batch))
}

/// Whether this option (without dashes) is `-force`.
pub(super) fn is_force(option: &str) -> bool {
    matches!(named(option), Some(Name::Force))
}

fn named(option: &str) -> Option<Name> {
    // `-f` of `ip` is the protocol family, which links do not have.
    if option == "f" {
        return None;
    }
    NAMES.iter().find(|(full, _)| abbreviates(option, full)).map(|&(_, name)| name)
}

#[derive(Clone, Copy, Debug)]
enum Name {
    Batch,
    Brief,
    Color,
    Details,
    Force,
    Help,
    Human,
    Iec,
    Json,
    Netns,
    Numeric,
    Oneline,
    Pretty,
    Short,
    Socket,
    Statistics,
    Timestamp,
    Version,
}

/// The first match in this order wins.
const NAMES: [(&str, Name); 20] = [
    ("statistics", Name::Statistics),
    ("stats", Name::Statistics),
    ("socket", Name::Socket),
    ("details", Name::Details),
    ("oneline", Name::Oneline),
    ("timestamp", Name::Timestamp),
    ("tshort", Name::Short),
    ("Version", Name::Version),
    ("force", Name::Force),
    ("batch", Name::Batch),
    ("brief", Name::Brief),
    ("json", Name::Json),
    ("pretty", Name::Pretty),
    ("human-readable", Name::Human),
    ("iec", Name::Iec),
    ("netns", Name::Netns),
    ("Numeric", Name::Numeric),
    ("color", Name::Color),
    ("help", Name::Help),
    ("ts", Name::Short),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::tests::words;

    fn parsed(line: &str) -> Result<(Options, Vec<String>), CommandError> {
        let words = words(line);
        let mut rest = Tokens::new(&words);
        let options = Options::parse(&mut rest)?;
        Ok((options, rest.map(str::to_owned).collect()))
    }

    #[test]
    fn options_are_parsed_before_the_object_only() {
        let (options, rest) = parsed("-s -d -st -json --pretty -br -n red link -o show").unwrap();
        assert_eq!(options.statistics, 2);
        assert!(options.details && options.json && options.pretty && options.brief);
        assert!(!options.oneline);
        assert_eq!(options.netns.as_deref(), Some("red"));
        assert_eq!(rest, ["link", "-o", "show"]);
        assert_eq!(parsed("-- -s").unwrap().1, ["-s"]);
    }

    #[test]
    fn abbreviations_are_those_of_ip() {
        assert_eq!(parsed("-b file").unwrap().0.batch.as_deref(), Some("file"));
        assert!(parsed("-br").unwrap().0.brief);
        assert!(parsed("-h").unwrap().0.human);
        assert!(parsed("-i").unwrap().0.iec);
        assert!(parsed("-N").unwrap().0.numeric);
        assert!(parsed("-fo").unwrap().0.force);
        assert!(parsed("-V").unwrap().0.version);
        assert_eq!(parsed("-t").unwrap().0.timestamp, Timestamp::Long);
        assert_eq!(parsed("-ts").unwrap().0.timestamp, Timestamp::Short);
        assert_eq!(parsed("-c").unwrap().0.colour, Colour::Always);
        assert_eq!(parsed("-col=never").unwrap().0.colour, Colour::Never);
        assert_eq!(parsed("--socket /s").unwrap().0.socket, Some("/s".into()));
        assert_eq!(parsed("--socket=/s").unwrap().0.socket, Some("/s".into()));
        assert!(takes_value("b") && takes_value("net") && takes_value("socket"));
        assert!(!takes_value("s") && !takes_value("br") && !takes_value("x"));
    }

    #[test]
    fn unknown_options_are_named() {
        for option in ["-x", "-f", "-jp", "-c=foo", "-s=1"] {
            let error = parsed(option).unwrap_err();
            let text = format!("Option \"{option}\" is unknown, try \"umacvlan -help\".");
            assert_eq!((error.text, error.status), (text, 255));
        }
        assert_eq!(parsed("-b").unwrap_err(), CommandError::incomplete());
    }
}
