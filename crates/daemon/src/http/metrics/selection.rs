//! [`LinkSeries`]: which links have series of their own in a scrape.

use std::str::FromStr;

use umacvlan_api::LinkView;

/// Which links have series of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum LinkSeries {
    /// All of them.
    #[default]
    All,
    /// This many, those with the most bytes both ways.
    Busiest(usize),
}

impl LinkSeries {
    /// The links that have series of their own, and the number of the others.
    pub(super) fn select(self, links: &[LinkView]) -> (Vec<&LinkView>, usize) {
        let mut chosen: Vec<&LinkView> = links.iter().collect();
        if let Self::Busiest(most) = self {
            let bytes = |link: &&LinkView| {
                let counters = &link.umacvlan.counters;
                counters.delivered.bytes.saturating_add(counters.received.bytes)
            };
            // Of those that are alike, the first remain, so that series do not come and go.
            chosen.sort_by_key(|link| std::cmp::Reverse(bytes(link)));
            chosen.truncate(most);
        }
        let left_out = links.len() - chosen.len();
        (chosen, left_out)
    }
}

impl FromStr for LinkSeries {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("all", _) => Ok(Self::All),
            ("none", _) => Ok(Self::Busiest(0)),
            (_, Ok(most)) => Ok(Self::Busiest(most)),
            _ => Err(format!("links is all, none or a number, and not '{text}'")),
        }
    }
}
