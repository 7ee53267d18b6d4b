//! The queue of the parent, which a slower wire than a veth has.

use std::io;

use umacvlan_netlink::{Rtnl, TokenBucket};
use umacvlan_sys::netns::Netns;

use crate::error::{Context, Result};
use crate::station::Member;

/// Gives the parent this queue.
pub(super) fn set(host: &Netns, bucket: TokenBucket) -> Result<()> {
    with_parent(host, |rtnl, index| rtnl.set_token_bucket(index, bucket))
        .context(|| "giving the parent a queue")
}

/// Removes the queue that the parent was given.
pub(super) fn remove(host: &Netns) -> Result<()> {
    with_parent(host, Rtnl::remove_queue).context(|| "removing the queue of the parent")
}

/// The packets that the queue of the parent has dropped.
pub(super) fn drops(host: &Netns) -> Result<u64> {
    with_parent(host, Rtnl::queue_drops)
        .map(u64::from)
        .context(|| "reading the drops of the parent's queue")
}

fn with_parent<T>(
    host: &Netns,
    run: impl FnOnce(&mut Rtnl, u32) -> umacvlan_netlink::Result<T>,
) -> io::Result<T> {
    let mut rtnl = Rtnl::open_in(host)?;
    let parent = rtnl.link(Member::Host.interface_name())?;
    let parent = parent.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    Ok(run(&mut rtnl, parent.index)?)
}
