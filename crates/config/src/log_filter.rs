//! The syntax of log filters, which the configuration, the command line and the API have in common.
//!
//! `tracing` takes a word that is no level for a module, and a filter of modules alone silences all
//! others. So a mistyped level would silence the log.

use umacvlan_text::suggest::did_you_mean;

/// Description of a log filter for messages.
pub(crate) const EXPECTED: &str = "a level (off, error, warn, info, debug, trace) or MODULE=LEVEL, \
                                   or several with commas between them";

/// Checks a log filter, as in `info` or `warn,umacvlan::daemon=debug`. A module may have a span
/// behind it, as in `umacvlan[span{field=1}]=debug`.
///
/// # Errors
/// What is wrong, what is expected, and the level that may be meant.
pub fn check_log_filter(filter: &str) -> Result<(), String> {
    for part in directives(filter) {
        let (module, level) = part.rsplit_once('=').map_or((None, part), |(module, level)| {
            // The equals sign of a field is no end of a module.
            if level.contains([']', '}']) { (None, part) } else { (Some(module), level) }
        });
        let level = level.trim();
        let known = LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level));
        if !known || !module.is_none_or(is_module) {
            let guess = if known { String::new() } else { did_you_mean(level, &LEVELS) };
            return Err(format!("{part:?} is no level, expected {EXPECTED}{guess}"));
        }
    }
    Ok(())
}

/// The parts between commas; those between the fields of a span separate nothing.
fn directives(filter: &str) -> Vec<&str> {
    let mut in_fields = false;
    let separates = |sign: char| {
        in_fields = if in_fields { sign != '}' } else { sign == '{' };
        sign == ',' && !in_fields
    };
    filter.split(separates).map(str::trim).collect()
}

fn is_module(module: &str) -> bool {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '_' | ':');
    let (name, span) =
        module.split_once('[').map_or((module, None), |(name, span)| (name, Some(span)));
    name.chars().all(plain)
        && span.map_or(!name.is_empty(), |span| {
            span.strip_suffix(']').is_some_and(|span| !span.is_empty())
        })
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_a_level_in_each_part() {
        for good in [
            "info",
            " debug ",
            "WARN",
            "info, umacvlan=debug",
            "umacvlan::daemon[asked{uid=1,gid=2}]=debug,warn",
            "[asked]=trace",
        ] {
            check_log_filter(good).unwrap();
        }
        for bad in ["", " ", "umacvlan", "info,", "=debug", "a=b=debug", "a b=info", "a[=info"] {
            let why = check_log_filter(bad).unwrap_err();
            assert!(why.contains("is no level") && !why.contains("did you mean"), "{bad}: {why}");
        }
        check_log_filter("umacvlan[asked{uid=1}]").unwrap_err();
    }

    #[test]
    fn the_level_that_is_meant_is_suggested() {
        for (typed, meant) in [("inof", "info"), ("info,umacvlan=debgu", "debug"), ("wran", "warn")]
        {
            let why = check_log_filter(typed).unwrap_err();
            assert!(why.ends_with(&format!("; did you mean {meant:?}?")), "{typed}: {why}");
        }
    }
}
