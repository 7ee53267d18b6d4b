//! An [`OfflineSwitch`] from a configuration.

use std::collections::BTreeSet;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use umacvlan_core::mac::name_hash;
use umacvlan_core::{MacAddr, Mode, MulticastFilter, ParentInfo, SubConfig, SubIndex, Switch};

use super::OfflineSwitch;
use umacvlan_config::{Config, LinkEntry};

/// Facts that a configuration does not have, from the command line.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Assumptions {
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

/// A link by its name and a group address that it has joined.
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

/// The switch of the named or the only parent, with all its links in their initial state.
///
/// # Errors
/// The parent does not exist, or the rules of macvlan refuse a link.
pub(crate) fn from_config(
    config: &Config,
    parent: Option<&str>,
    assumptions: &Assumptions,
) -> Result<OfflineSwitch> {
    let parent = choose(config, parent)?;
    let links: Vec<(&str, &LinkEntry)> = config
        .links
        .iter()
        .filter(|(_, entry)| entry.spec.parent == parent)
        .map(|(key, entry)| (key.as_str(), entry))
        .collect();
    let mut notes = Vec::new();
    let mac = assumptions.parent_mac.unwrap_or_else(|| address_from_name(parent, &BTreeSet::new()));
    if !mac.is_valid_unicast() {
        bail!("--parent-mac: {mac} is not the address of a station");
    }
    if assumptions.parent_mac.is_none() {
        notes.push(format!("{parent}: address {mac} assumed, made from its name (--parent-mac)"));
    }
    let largest = links.iter().filter_map(|(_, entry)| entry.spec.mtu).fold(MTU, u32::max);
    let mtu = assumptions.mtu.unwrap_or(largest);
    if assumptions.mtu.is_none() {
        notes.push(format!("{parent}: MTU {mtu} assumed (--mtu)"));
    }
    let switch =
        Switch::new(ParentInfo { mac, mtu, promisc: false }, config.parent(parent).semantics);
    let mut offline = OfflineSwitch { notes, ..OfflineSwitch::new(parent, switch) };
    if config.parent(parent).macnat {
        offline.note_macnat();
    }
    let mut taken: BTreeSet<MacAddr> =
        links.iter().filter_map(|(_, entry)| entry.spec.address).chain([mac]).collect();
    for &(key, entry) in &links {
        let address = entry.spec.address.unwrap_or_else(|| {
            let made = address_from_name(&format!("{parent}/{key}"), &taken);
            if entry.spec.settings.mode != Mode::Passthru {
                offline.notes.push(format!("{key}: address {made} assumed, made from its name"));
            }
            made
        });
        taken.insert(address);
        let added = add(&mut offline.switch, entry, address);
        let id = added.with_context(|| format!("link {key} cannot be on {parent}"))?;
        offline.push_name(id, key.to_owned());
    }
    join(&mut offline, &assumptions.joined)?;
    let joined = "links: joined the groups that every interface joins, and no others (--join)";
    offline.notes.extend(assumptions.joined.is_empty().then(|| joined.to_owned()));
    Ok(offline)
}

/// The named parent, or the only one.
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

/// Adds a link, sets it up unless the entry says otherwise, and joins the groups that every
/// interface joins.
fn add(switch: &mut Switch, entry: &LinkEntry, address: MacAddr) -> Result<SubIndex> {
    let spec = &entry.spec;
    let id =
        switch.add(&SubConfig { mac: address, mtu: spec.mtu, settings: spec.settings.clone() })?;
    // A passthru link has the parent's address, whatever `address` is.
    let mac = switch.sub(id).map_or(address, |sub| sub.mac());
    let groups = default_groups(mac).to_vec();
    switch.set_filter(
        id,
        MulticastFilter { groups, allmulti: spec.allmulticast, promisc: spec.promisc },
    )?;
    switch.set_up(id, spec.up != Some(false))?;
    Ok(id)
}

fn join(offline: &mut OfflineSwitch, joined: &[Membership]) -> Result<()> {
    for Membership { link, group } in joined {
        let id = offline.find(link).with_context(|| {
            format!("--join: {} has no link {link}: it has {}", offline.parent, offline.name_list())
        })?;
        let mut filter = offline.switch.sub(id).map(|sub| sub.filter().clone()).unwrap_or_default();
        filter.groups.push(*group);
        offline.switch.set_filter(id, filter)?;
    }
    Ok(())
}

/// The groups that Linux joins on an interface with this address when it comes up: all hosts
/// (RFC 1112), all nodes, and the solicited node of its link-local address (RFC 4291).
fn default_groups(mac: MacAddr) -> [MacAddr; 3] {
    let [.., d, e, f] = mac.octets();
    [
        MacAddr::new([0x01, 0, 0x5e, 0, 0, 1]),
        MacAddr::new([0x33, 0x33, 0, 0, 0, 1]),
        MacAddr::new([0x33, 0x33, 0xff, d, e, f]),
    ]
}

/// A locally administered unicast address derived from the name alone, unless that is `taken`.
fn address_from_name(name: &str, taken: &BTreeSet<MacAddr>) -> MacAddr {
    let hash = name_hash(name);
    let address = |bump: u64| {
        let [_, _, _, b, c, d, e, f] = hash.wrapping_add(bump).to_be_bytes();
        MacAddr::new([2, b, c, d, e, f])
    };
    (0..).map(address).find(|made| !taken.contains(made)).unwrap_or_else(|| address(0))
}

/// The default MTU of an Ethernet interface, in bytes.
const MTU: u32 = 1500;
