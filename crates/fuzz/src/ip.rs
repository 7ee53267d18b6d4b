//! The grammar of `umacvlan link`, whose sources belong to the root package, a program.

/// Parses a line as the words of a command: first the options, then the object. The first word with
/// an error ends it.
pub(crate) fn words(line: &[u8]) {
    let line = String::from_utf8_lossy(line);
    let words: Vec<String> = line.split_ascii_whitespace().map(str::to_owned).collect();
    let mut tokens = tokens::Tokens::new(&words);
    let Ok(_options) = options::Options::parse(&mut tokens) else { return };
    if let Err(error) = command::parse(tokens.rest()) {
        assert!(error.to_string().ends_with('\n') && error.status != 0, "{error:?}");
    }
}

macro_rules! grammar {
    ($($file:literal $module:ident),+ $(,)?) => {$(
        #[allow(dead_code, unused_imports, reason = "the program uses all of it")]
        #[path = $file]
        mod $module;
    )+};
}

grammar!(
    "../../umacvlan/ip/addressing.rs" addressing,
    "../../umacvlan/ip/command.rs" command,
    "../../umacvlan/ip/error.rs" error,
    "../../umacvlan/ip/help.rs" help,
    "../../umacvlan/ip/keywords.rs" keywords,
    "../../umacvlan/ip/link.rs" link,
    "../../umacvlan/ip/link_args.rs" link_args,
    "../../umacvlan/ip/macvlan.rs" macvlan,
    "../../umacvlan/ip/options.rs" options,
    "../../umacvlan/ip/tokens.rs" tokens,
);

/// What the unit tests of the grammar use of its module. They run with those of the root package.
#[cfg(test)]
mod tests {
    pub(super) fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }
}
