//! An [`OfflineSwitch`] from the views of a running daemon.

use anyhow::{Context, Result};
use umacvlan_core::{
    KernelRelease, MacAddr, MulticastFilter, ParentInfo, SubConfig, SubIndex, Switch,
};

use super::OfflineSwitch;
use umacvlan_api::{LinkView, ParentView};

/// The switch of the parent `view` with those of `links` that are on it, in their present state.
///
/// # Errors
/// A value in a view cannot be parsed: the daemon has another version.
pub(crate) fn from_daemon(view: &ParentView, links: &[LinkView]) -> Result<OfflineSwitch> {
    let foreign = || format!("the daemon's answer about {} is not understood", view.name);
    let mac = view.address.parse().with_context(foreign)?;
    // The address is set last: the parent may have got the address of a link since it was added.
    let promisc = view.all_groups.unwrap_or(false);
    let parent = ParentInfo { mac: MacAddr::ZERO, mtu: view.mtu, promisc };
    let mut switch = Switch::new(parent, view.semantics.parse().with_context(foreign)?);
    let release = view.release.as_deref().and_then(KernelRelease::from_name);
    switch.set_running_kernel(release.unwrap_or_default());
    let mut offline = OfflineSwitch::new(&view.name, switch);
    let links: Vec<&LinkView> =
        links.iter().filter(|link| link.umacvlan.parent == view.name).collect();
    for link in &links {
        let foreign = || format!("the daemon's answer about {} is not understood", link.ifname);
        let id = add(&mut offline.switch, link).with_context(foreign)?;
        offline.push_name(id, name(link, &links));
    }
    offline.switch.set_parent_mac(mac);
    offline.switch.set_bc_cutoff(view.bclim);
    if view.macnat {
        offline.note_macnat();
    }
    if !view.present || !view.carrier {
        offline.notes.push(format!(
            "{} has no carrier: whatever the decision, nothing is sent to the wire, and its links \
             send nothing",
            view.name
        ));
    }
    if view.all_groups.is_none() {
        offline.notes.push(
            "not known: whether the parent receives every group, by which more frames take the \
             broadcast queue (the daemon is older)"
                .to_owned(),
        );
    }
    Ok(offline)
}

/// The name of the interface, prefixed with its namespace if another link has the same name.
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
        // The engine uses the parent's MTU while the link's is larger.
        mtu: Some(link.mtu.min(switch.parent().mtu)),
        settings: link.linkinfo.info_data.settings()?,
    })?;
    let groups = addresses(&link.umacvlan.groups)?;
    let promisc = flag("PROMISC");
    let filter = MulticastFilter { groups, allmulti: link.umacvlan.all_groups, promisc };
    switch.set_filter(id, filter)?;
    switch.set_up(id, flag("UP"))?;
    switch.set_secondary(id, addresses(&link.umacvlan.secondary)?)?;
    Ok(id)
}
