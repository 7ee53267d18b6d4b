//! Making an attachment, and removing it.

use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;

use super::Asked;
use super::config::refused;
use super::error::{CONFIG, CniError, NAMESPACE};
use super::ipam::Ipam;
use super::result::{Attached, Interface};
use super::version::Version;
use crate::container_link::{self, Inside};
use umacvlan_api::LinkView;
use umacvlan_client::{Client, ConnectError, RequestError};

/// `ADD`: the link, its addresses and routes, or nothing at all.
///
/// # Errors
/// What was in the way; nothing is left behind.
pub(super) fn add(asked: &Asked<'_>) -> Result<Attached, CniError> {
    let Asked { call, config, .. } = asked;
    let ipam = asked.ipam()?;
    if ipam.is_none() && config.version()? < Version::LISTS {
        let advice = "a result of this version has addresses: name an ipam, or use 0.3.0 or later";
        let msg = "cannot convert: no valid IP addresses";
        return Err(CniError::new(CONFIG, msg).with_details(advice));
    }
    let spec = config.spec(call)?;
    let netns = container(asked)?;
    let mut client = Client::connect(&asked.socket)?;
    let made = container_link::make(&mut client, &call.ifname, spec, &asked.owner());
    let done = match made {
        // There may be something of that name, but it is not ours to remove.
        Err(failure @ (RequestError::Connect(_) | RequestError::Problem(_))) => {
            return Err(failure.into());
        }
        Err(failure) => Err(failure.into()),
        Ok(link) => furnish(asked, &netns, &link, ipam.as_ref()),
    };
    done.inspect_err(|_| {
        // The reason is what counts; what cannot be removed now is removed by DEL or GC.
        let _ = container_link::remove(&mut client, &asked.owner());
    })
}

/// Gives a new link what it is to have.
fn furnish(
    asked: &Asked<'_>,
    netns: &Netns,
    link: &LinkView,
    ipam: Option<&Ipam<'_>>,
) -> Result<Attached, CniError> {
    let ifname = &asked.call.ifname;
    // If the daemon took another namespace for this one, it is not there.
    let mut inside = Inside::find(netns, ifname).map_err(refused)?;
    let done = number(&mut inside, ipam);
    if let (Err(_), Some(ipam)) = (&done, ipam) {
        // As above.
        let _ = ipam.tell("DEL");
    }
    let mut attached = done?;
    attached.interfaces = vec![Interface {
        name: ifname.clone(),
        mac: link.address.clone(),
        mtu: Some(link.mtu),
        sandbox: Some(asked.call.netns.clone()),
    }];
    attached.ips.iter_mut().for_each(|ip| ip.interface = Some(0));
    attached.dns = asked.config.dns.clone();
    Ok(attached)
}

/// Gives a link the addresses that another plugin chooses, if there is one, and sets it up.
fn number(inside: &mut Inside<'_>, ipam: Option<&Ipam<'_>>) -> Result<Attached, CniError> {
    let attached = ipam.map_or_else(|| Ok(Attached::default()), Ipam::add)?;
    let (addresses, routes) = attached.wanted();
    // As long as an address is probed for, nothing is sent to a gateway from it.
    let settle = attached.ips.iter().any(|ip| ip.gateway.is_some_and(|via| via.is_ipv6()));
    inside.set_up(&addresses, &routes, settle).map_err(refused)?;
    Ok(attached)
}

/// `DEL`: nothing is left, of what there was. Both the addresses and the link are tried, whatever
/// becomes of the other.
///
/// # Errors
/// The first thing that could not be removed.
pub(super) fn del(asked: &Asked<'_>) -> Result<(), CniError> {
    let addresses = asked.ipam().and_then(|ipam| ipam.map_or(Ok(()), |ipam| ipam.tell("DEL")));
    let link = match Client::connect(&asked.socket) {
        Ok(mut client) => {
            container_link::remove(&mut client, &asked.owner()).map_err(CniError::from)
        }
        // It will find that the interface is gone, when it starts.
        Err(ConnectError::NotRunning { .. }) => del_alone(asked),
        Err(error) => Err(error.into()),
    };
    addresses.and(link)
}

/// Removes the interface without a daemon: in the container's namespace, if that is still there,
/// and if it is the one that was made.
fn del_alone(asked: &Asked<'_>) -> Result<(), CniError> {
    let Asked { call, config, .. } = asked;
    let Some(netns) = Some(&call.netns).filter(|at| !at.is_empty()).and_then(|at| open(at).ok())
    else {
        return Ok(());
    };
    let mut rtnl = Rtnl::open_in(&netns).map_err(refused)?;
    let link = rtnl.link(&call.ifname).map_err(refused)?.filter(|link| link.is_kept_tap());
    let Some(link) = link else {
        return Ok(());
    };
    let known = if config.has_prev_result() { Some(config.prev_result()?) } else { None };
    let mac = known.as_ref().and_then(|known| known.interface(asked)?.mac.clone());
    let same = link.mac.zip(mac).is_none_or(|(has, had)| has.to_string() == had);
    if same { rtnl.delete(link.index).map_err(refused) } else { Ok(()) }
}

/// The container's namespace, which must not be the runtime's own unless that is meant.
///
/// # Errors
/// If it is not there.
pub(super) fn container(asked: &Asked<'_>) -> Result<Netns, CniError> {
    let path = &asked.call.netns;
    let failed =
        |error| CniError::new(NAMESPACE, format!("failed to open netns {path:?}: {error}"));
    let netns = open(path).map_err(failed)?;
    let own = Netns::current().map_err(failed)?.id();
    if netns.id() == own && !asked.call.own_netns {
        let msg = "plugin's netns and netns from CNI_NETNS should not be the same";
        return Err(CniError::new(NAMESPACE, msg));
    }
    Ok(netns)
}

/// Opens the file of a namespace. Only a path is one here: `Netns` knows other names, too.
fn open(path: &str) -> std::io::Result<Netns> {
    let whole = std::path::absolute(path)?;
    Netns::open(&whole.to_string_lossy())
}
