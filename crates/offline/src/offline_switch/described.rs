//! From a configuration to paper.

use std::collections::BTreeSet;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use umacvlan_core::{MacAddr, Mode, MulticastFilter, ParentInfo, SubConfig, SubIndex, Switch};

use super::Paper;
use umacvlan_config::{Config, LinkEntry};

/// What a configuration does not say, and the command line may.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Assumed {
    /// The parent's address [default: one made from its name]
    #[arg(long, value_name = "ADDRESS", requires = "config")]
    parent_mac: Option<MacAddr>,

    /// The parent's MTU [default: 1500, or the largest of its links]
    #[arg(long, value_name = "BYTES", requires = "config")]
    mtu: Option<u32>,

    /// A group that a link has joined beside those that every interface joins; may be repeated
    #[arg(long = "join", value_name = "LINK=GROUP", requires = "config")]
    joined: Vec<Membership>,
}

/// A link, by its name, and a group that it has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Membership {
    link: String,
    group: MacAddr,
}

impl FromStr for Membership {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (link, group) = text.rsplit_once('=').ok_or("expected LINK=GROUP")?;
        let group: MacAddr = group.parse().map_err(|error| format!("{error}"))?;
        match group.is_group() {
            true => Ok(Self { link: link.to_owned(), group }),
            false => Err(format!("{group} is a station: a group's first byte is odd")),
        }
    }
}

/// The parent of that name, or the only one, with all its links as they are when they are made.
///
/// # Errors
/// There is no such parent, or the rules of macvlan refuse a link.
pub(crate) fn described(config: &Config, parent: Option<&str>, assumed: &Assumed) -> Result<Paper> {
    let parent = choose(config, parent)?;
    let links: Vec<(&str, &LinkEntry)> = config
        .links
        .iter()
        .filter(|(_, entry)| entry.spec.parent == parent)
        .map(|(wish, entry)| (wish.as_str(), entry))
        .collect();
    let mut notes = Vec::new();
    let mac = assumed.parent_mac.unwrap_or_else(|| made_from(parent, &BTreeSet::new()));
    if !mac.is_valid_unicast() {
        bail!("--parent-mac: {mac} is not the address of a station");
    }
    if assumed.parent_mac.is_none() {
        notes.push(format!("{parent}: address {mac} assumed, made from its name (--parent-mac)"));
    }
    let largest = links.iter().filter_map(|(_, entry)| entry.spec.mtu).fold(MTU, u32::max);
    let mtu = assumed.mtu.unwrap_or(largest);
    if assumed.mtu.is_none() {
        notes.push(format!("{parent}: MTU {mtu} assumed (--mtu)"));
    }
    let switch =
        Switch::new(ParentInfo { mac, mtu, promisc: false }, config.parent(parent).semantics);
    let mut paper = Paper { notes, ..Paper::new(parent, switch) };
    let mut taken: BTreeSet<MacAddr> =
        links.iter().filter_map(|(_, entry)| entry.spec.address).chain([mac]).collect();
    for &(wish, entry) in &links {
        let address = entry.spec.address.unwrap_or_else(|| {
            let made = made_from(&format!("{parent}/{wish}"), &taken);
            if entry.spec.settings.mode != Mode::Passthru {
                paper.notes.push(format!("{wish}: address {made} assumed, made from its name"));
            }
            made
        });
        taken.insert(address);
        let added = add(&mut paper.switch, entry, address);
        let id = added.with_context(|| format!("link {wish} cannot be on {parent}"))?;
        paper.call(id, wish.to_owned());
    }
    join(&mut paper, &assumed.joined)?;
    let joined = "links: joined the groups that every interface joins, and no others (--join)";
    paper.notes.extend(assumed.joined.is_empty().then(|| joined.to_owned()));
    Ok(paper)
}

/// The parent of that name, or the only one that there is.
fn choose<'c>(config: &'c Config, wanted: Option<&'c str>) -> Result<&'c str> {
    let links = config.links.values().map(|entry| entry.spec.parent.as_str());
    let all: BTreeSet<&str> = links.chain(config.parents.keys().map(String::as_str)).collect();
    let known = || all.iter().copied().collect::<Vec<_>>().join(", ");
    match wanted {
        Some(name) if all.contains(name) => Ok(name),
        Some(name) => Err(anyhow!("the configuration has no parent {name}: it has {}", known())),
        None => match (all.len(), all.first()) {
            (1, Some(only)) => Ok(only),
            (0, _) => Err(anyhow!("the configuration has no links and no parents")),
            _ => Err(anyhow!(
                "the configuration has several parents, choose one with --parent: {}",
                known()
            )),
        },
    }
}

/// Adds a link, sets it up if it is to be, and has it join what it is sure to join.
fn add(switch: &mut Switch, entry: &LinkEntry, address: MacAddr) -> Result<SubIndex> {
    let spec = &entry.spec;
    let id =
        switch.add(&SubConfig { mac: address, mtu: spec.mtu, settings: spec.settings.clone() })?;
    // Passthru has the parent's address and not the one it was given.
    let mac = switch.sub(id).map_or(address, |sub| sub.mac());
    let groups = everyones(mac).to_vec();
    switch.set_filter(
        id,
        MulticastFilter { groups, allmulti: spec.allmulticast, promisc: spec.promisc },
    )?;
    switch.set_up(id, spec.up != Some(false))?;
    Ok(id)
}

fn join(paper: &mut Paper, joined: &[Membership]) -> Result<()> {
    for Membership { link, group } in joined {
        let id = paper.named(link).with_context(|| {
            format!("--join: {} has no link {link}: it has {}", paper.parent, paper.known())
        })?;
        let mut filter = paper.switch.sub(id).map(|sub| sub.filter().clone()).unwrap_or_default();
        filter.groups.push(*group);
        paper.switch.set_filter(id, filter)?;
    }
    Ok(())
}

/// The groups that Linux has an interface with this address join by itself when it comes up: all
/// hosts (RFC 1112), all nodes and the solicited node of its link-local address (RFC 4291).
fn everyones(mac: MacAddr) -> [MacAddr; 3] {
    let [.., d, e, f] = mac.octets();
    [
        MacAddr::new([0x01, 0, 0x5e, 0, 0, 1]),
        MacAddr::new([0x33, 0x33, 0, 0, 0, 1]),
        MacAddr::new([0x33, 0x33, 0xff, d, e, f]),
    ]
}

/// An address that depends on nothing but the name, as long as nobody has taken it: locally
/// administered, and not a group's.
fn made_from(name: &str, taken: &BTreeSet<MacAddr>) -> MacAddr {
    // FNV-1a: short, and the same for ever, which the hashes of std do not promise.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let address = |bump: u64| {
        let [_, _, _, b, c, d, e, f] = hash.wrapping_add(bump).to_be_bytes();
        MacAddr::new([2, b, c, d, e, f])
    };
    (0..).map(address).find(|made| !taken.contains(made)).unwrap_or_else(|| address(0))
}

/// The MTU of an Ethernet interface that nobody has changed, in bytes.
const MTU: u32 = 1500;
