//! Readers of values: each returns the value, or a message that says what is wrong and what was
//! expected.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use umacvlan_text::suggest::did_you_mean;

use toml::de::DeValue;
use umacvlan_core::limit::LimitWord;
use umacvlan_core::rules::{RuleOp, RuleWord, RulesChange};
use umacvlan_core::{Destination, MacAddr, ifname};

use super::log_filter::{self, check_log_filter};

/// The kind of a value, with its article: "a string".
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn wrong<T>(value: &DeValue<'_>, expected: &str) -> Result<T, String> {
    Err(format!("this is {}, expected {expected}", kind(value)))
}

/// Reads true or false.
pub(super) fn switch(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().map_or_else(|| wrong(value, "true or false, without quotes"), Ok)
}

/// Reads a string that is not empty and has no control characters. `expected` describes it in
/// messages.
pub(super) fn text(value: &DeValue<'_>, expected: &str) -> Result<String, String> {
    let Some(text) = value.as_str() else { return wrong(value, expected) };
    match text {
        "" => Err(format!("this is empty, expected {expected}")),
        _ if text.chars().any(char::is_control) => {
            Err(format!("this has control characters in it, expected {expected}"))
        }
        _ => Ok(text.to_owned()),
    }
}

/// Reads a string, or a number as its text.
pub(super) fn text_or_number(value: &DeValue<'_>, expected: &str) -> Result<String, String> {
    match value {
        DeValue::Integer(_) => {
            whole(value, &(0..=u32::MAX.into()), expected).map(|number| number.to_string())
        }
        _ => text(value, expected),
    }
}

/// Reads the value of a limit, in quotes or as a number.
pub(super) fn limit(value: &DeValue<'_>, word: &LimitWord) -> Result<String, String> {
    let text = match value {
        DeValue::Integer(number) => number.to_string(),
        DeValue::String(text) => text.to_string(),
        _ => return wrong(value, word.expected()),
    };
    let wrong = |_| format!("{text:?} is not {}", word.expected());
    word.parse(&text).map_err(wrong)?;
    Ok(text)
}

/// Reads the values of a rule: an array of texts, or a text with commas; of a group also a boolean.
pub(super) fn rule(value: &DeValue<'_>, word: RuleWord) -> Result<RulesChange, String> {
    let mut change = RulesChange::default();
    let read = match value {
        DeValue::String(text) => change.set(word, text),
        DeValue::Boolean(on) if !word.is_list() => change.set(word, if *on { "on" } else { "off" }),
        DeValue::Array(items) if word.is_list() => {
            let texts = items.iter().map(|item| item.get_ref().as_str().ok_or(item));
            match texts.collect::<Result<Vec<_>, _>>() {
                Ok(texts) => change.edit(word, RuleOp::Set, texts),
                Err(item) => return wrong(item.get_ref(), word.expected()),
            }
        }
        _ => return wrong(value, word.expected()),
    };
    read.map_err(|error| error.to_string().replacen(&format!("{}: ", word.name()), "", 1))?;
    Ok(change)
}

/// Reads a whole number in `range`.
fn whole(value: &DeValue<'_>, range: &RangeInclusive<i64>, expected: &str) -> Result<i64, String> {
    let Some(digits) = value.as_integer() else { return wrong(value, expected) };
    // A number of more than 64 bits is outside of every range.
    let number = i64::from_str_radix(digits.as_str(), digits.radix()).ok();
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("{digits} is out of range, expected {expected}"))
}

/// Reads a whole number of the type of `range`.
pub(super) fn number<N>(value: &DeValue<'_>, range: RangeInclusive<N>) -> Result<N, String>
where
    N: Copy + Into<i64> + TryFrom<i64>,
{
    let (least, most): (i64, i64) = ((*range.start()).into(), (*range.end()).into());
    let expected = format!("a whole number from {least} to {most}");
    let number = whole(value, &(least..=most), &expected)?;
    N::try_from(number).map_err(|_| format!("{number} is out of range, expected {expected}"))
}

/// Reads one of these words.
pub(super) fn choice<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Result<T, String> {
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let expected = format!("one of {}", quoted(&known));
    let Some(text) = value.as_str() else { return wrong(value, &expected) };
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let guess = did_you_mean(text, &known);
        format!("{text:?} is none of the words for this, expected {expected}{guess}")
    })
}

/// Reads a unicast address.
pub(super) fn unicast_mac(value: &DeValue<'_>) -> Result<MacAddr, String> {
    let expected = "a unicast MAC address, as in \"02:00:5e:10:00:01\"";
    let Some(text) = value.as_str() else { return wrong(value, expected) };
    let Ok(address) = text.parse::<MacAddr>() else {
        return Err(format!("{text:?} is not a MAC address, expected {expected}"));
    };
    if address.is_group() {
        return Err(format!(
            "{address} is a multicast address, expected a unicast address: its first byte is even"
        ));
    }
    if !address.is_valid_unicast() {
        return Err(format!("{address} is no unicast address, expected {expected}"));
    }
    Ok(address)
}

/// Reads an IP address, or a network.
pub(super) fn destination(value: &DeValue<'_>) -> Result<Destination, String> {
    let expected = "an IP address or a network, as in \"192.0.2.5\" or \"192.0.2.64/26\"";
    let Some(text) = value.as_str() else { return wrong(value, expected) };
    text.parse().map_err(|_| format!("{text:?} is neither, expected {expected}"))
}

/// Reads an IP address.
pub(super) fn ip_address(value: &DeValue<'_>) -> Result<IpAddr, String> {
    let expected = "an IP address, as in \"192.0.2.5\"";
    let Some(text) = value.as_str() else { return wrong(value, expected) };
    text.parse().map_err(|_| format!("{text:?} is none, expected {expected}"))
}

/// Reads an interface name.
pub(super) fn interface_name_of(value: &DeValue<'_>) -> Result<String, String> {
    let expected = "the name of an interface in quotes";
    let Some(name) = value.as_str() else { return wrong(value, expected) };
    interface_name(name).map(|()| name.to_owned())
}

/// Checks an interface name.
pub(super) fn interface_name(name: &str) -> Result<(), String> {
    ifname::check(name).map_err(|why| {
        format!(
            "{name:?} cannot be the name of an interface, it {why}: expected 1 to 15 characters, \
             none of them a space, a slash, a colon or a per cent sign"
        )
    })
}

/// Reads an absolute path.
pub(super) fn path(value: &DeValue<'_>) -> Result<String, String> {
    let expected = "an absolute path in quotes";
    let path = text(value, expected)?;
    if path.starts_with('/') {
        Ok(path)
    } else {
        Err(format!("{path:?} does not begin with a slash, expected {expected}"))
    }
}

/// Reads a log filter: `info`, or `warn,umacvlan::daemon=debug`.
pub(super) fn log(value: &DeValue<'_>) -> Result<String, String> {
    let filter = text(value, log_filter::EXPECTED)?;
    check_log_filter(&filter).map(|()| filter)
}

/// Reads a namespace: a name, a path, or a process id.
pub(super) fn namespace(value: &DeValue<'_>) -> Result<String, String> {
    let expected = "the name of a network namespace, an absolute path, or the id of a process";
    let place = text_or_number(value, expected)?;
    match place.as_str() {
        "0" => Err(format!("0 is the id of no process, expected {expected}")),
        "." | ".." => Err(format!("{place:?} is no name, expected {expected}")),
        _ if place.starts_with('@') => {
            Err(format!("{place:?} means something to clients only, expected {expected}"))
        }
        _ if place.contains('/') && !place.starts_with('/') => {
            Err(format!("{place:?} is a path that begins nowhere, expected {expected}"))
        }
        _ => Ok(place),
    }
}

/// Reads the path of a socket.
pub(super) fn socket(value: &DeValue<'_>) -> Result<String, String> {
    let expected = "an absolute path of at most 107 bytes";
    let path = text(value, expected)?;
    match path.starts_with('/') && path.len() < 108 && !path.contains('\0') {
        true => Ok(path),
        false => Err(format!("{path:?} is no path of a socket, expected {expected}")),
    }
}

/// Words in quotes, with commas between them.
pub(super) fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    words.join(", ")
}
