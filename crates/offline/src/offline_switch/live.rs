//! From what a daemon tells to paper.

use anyhow::{Context, Result};
use umacvlan_core::{MacAddr, MulticastFilter, ParentInfo, SubConfig, SubIndex, Switch};

use super::Paper;
use umacvlan_api::{LinkView, ParentView};

/// The parent `view` with those of `links` that are on it, as they are now.
///
/// # Errors
/// The daemon tells something that is none of its words: it is of another version.
pub(crate) fn live(view: &ParentView, links: &[LinkView]) -> Result<Paper> {
    let foreign = || format!("the daemon's answer about {} is not understood", view.name);
    let mac = view.address.parse().with_context(foreign)?;
    // It is given its address last: a parent may have been given that of a link meanwhile.
    let parent = ParentInfo { mac: MacAddr::ZERO, mtu: view.mtu, promisc: false };
    let switch = Switch::new(parent, view.semantics.parse().with_context(foreign)?);
    let mut paper = Paper::new(&view.name, switch);
    let links: Vec<&LinkView> =
        links.iter().filter(|link| link.umacvlan.parent == view.name).collect();
    for link in &links {
        let foreign = || format!("the daemon's answer about {} is not understood", link.ifname);
        let id = add(&mut paper.switch, link).with_context(foreign)?;
        paper.call(id, name(link, &links));
    }
    paper.switch.set_parent_mac(mac);
    paper.switch.set_bc_cutoff(view.bclim);
    if !view.present || !view.carrier {
        paper.notes.push(format!(
            "{} has no carrier: whatever the decision, nothing is sent to the wire, and its links \
             send nothing",
            view.name
        ));
    }
    paper.notes.push(
        "not known: whether the parent receives every group, by which more frames take the \
         broadcast queue"
            .to_owned(),
    );
    Ok(paper)
}

/// The name of its interface, after that of its namespace where another link has the same one.
fn name(link: &LinkView, links: &[&LinkView]) -> String {
    let same = links.iter().filter(|other| other.ifname == link.ifname).count();
    match &link.umacvlan.netns {
        Some(netns) if same > 1 => format!("{netns}/{}", link.ifname),
        _ => link.ifname.clone(),
    }
}

fn add(switch: &mut Switch, link: &LinkView) -> Result<SubIndex> {
    let mac: MacAddr = link.address.as_deref().context("it has no address")?.parse()?;
    let addresses = |texts: &[String]| {
        texts.iter().map(|text| text.parse()).collect::<Result<Vec<MacAddr>, _>>()
    };
    let flag = |name| link.flags.iter().any(|flag| flag == name);
    let id = switch.add(&SubConfig {
        mac,
        // The engine keeps it at the parent's while somebody has it beyond that.
        mtu: Some(link.mtu.min(switch.parent().mtu)),
        settings: link.linkinfo.info_data.settings()?,
    })?;
    let groups = addresses(&link.umacvlan.groups)?;
    let promisc = flag("PROMISC");
    let filter = MulticastFilter { groups, allmulti: link.umacvlan.all_groups, promisc };
    switch.set_filter(id, filter)?;
    switch.set_up(id, flag("UP"))?;
    Ok(id)
}
