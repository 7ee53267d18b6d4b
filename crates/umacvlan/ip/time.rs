//! The time of an event in the two formats of iproute2, in local time.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// As of `-t`: `Sat Nov 21 11:23:09 2026 591405 usec`.
pub(super) fn long(seconds: f64) -> String {
    format("%a %b %e %H:%M:%S %Y %-f usec", seconds, TimeZone::system())
}

/// As of `-ts`: `2026-11-21T11:23:09.591405`.
pub(super) fn short(seconds: f64) -> String {
    format("%Y-%m-%dT%H:%M:%S.%6f", seconds, TimeZone::system())
}

fn format(form: &str, seconds: f64, zone: TimeZone) -> String {
    #[allow(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
    let micros = (seconds * 1e6).round() as i64;
    // A time outside of the calendar is shown as 1970.
    let moment = Timestamp::from_microsecond(micros).unwrap_or_default().to_zoned(zone);
    let form = form.replace("%-f", &micros.rem_euclid(1_000_000).to_string());
    moment.strftime(&form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_the_time_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let shown = |form| format(form, 1_795_260_189.000_405, zone.clone());
        assert_eq!(shown("%a %b %e %H:%M:%S %Y %-f usec"), "Sat Nov 21 13:23:09 2026 405 usec");
        assert_eq!(shown("%Y-%m-%dT%H:%M:%S.%6f"), "2026-11-21T13:23:09.000405");
    }
}
