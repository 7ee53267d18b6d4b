//! [`explain_seen`]: the steps for a frame that a worker has forwarded.

use anyhow::{Context, Result};
use serde_json::Value;
use umacvlan_core::Frame;

use super::answer::Answer;
use crate::offline_switch::from_daemon;
use umacvlan_api::{LinkView, ParentView};

/// The steps of a decision, for people and for programs.
#[derive(Debug)]
pub struct Explained {
    /// Lines as of `umacvlan explain`.
    pub text: String,
    /// The object of `umacvlan explain -j`.
    pub json: Value,
}

/// Explains a frame from the wire of a parent, or from its link with that number, by the present rules of
/// the daemon.
///
/// # Errors
/// The parent or the link is gone, the frame is a runt, or the daemon has another version.
pub fn explain_seen(
    (parents, links): (&[ParentView], &[LinkView]),
    parent: &str,
    from: Option<u64>,
    bytes: &[u8],
) -> Result<Explained> {
    let view = parents.iter().find(|view| view.name == parent);
    let view = view.with_context(|| format!("{parent} is not a parent any more"))?;
    let offline = from_daemon(view, links)?;
    let frame = Frame::new(bytes).context("the frame is shorter than an Ethernet header")?;
    // The switch has the links of the parent in their order.
    let of_parent = || links.iter().filter(|link| link.umacvlan.parent == parent);
    let from = match from {
        None => None,
        Some(id) => {
            let place = of_parent().position(|link| link.umacvlan.id == id);
            let sub = place.and_then(|place| offline.subs().nth(place));
            Some(sub.context("the link that has sent the frame is gone")?.0)
        }
    };
    let mtu = |link: &LinkView| usize::try_from(link.mtu).unwrap_or(usize::MAX);
    let longest = of_parent().map(mtu).max().unwrap_or_default();
    // Longer than any frame of a link: it is a GSO packet.
    let is_gso = bytes.len() > longest.saturating_add(LONGEST_HEADER);
    let explanation = match from {
        Some(id) => offline.switch.explain_egress(id, frame, is_gso),
        None => offline.switch.explain_ingress(frame),
    };
    let answer = Answer::new(&offline, from, frame, true, explanation);
    Ok(Explained { text: answer.text(), json: serde_json::to_value(&answer)? })
}

/// Bytes of an Ethernet header with two tags.
const LONGEST_HEADER: usize = 22;
