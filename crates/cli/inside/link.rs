//! The link itself, which the daemon makes and removes.

use crate::api::{LinkSpec, LinkView, NewLink};
use crate::client::{Client, Failure};

/// Where the daemon has its links.
const LINKS: &str = "/v1/links";

/// Makes a link called `name`, in the namespace that `spec` names, and returns what it is like:
/// its address, its MTU. `owner` is text by which [`remove`] finds it, wherever it is by then.
///
/// # Errors
/// The daemon's reason, or that it cannot be asked.
pub(crate) fn make(
    client: &mut Client,
    name: &str,
    spec: LinkSpec,
    owner: &str,
) -> Result<LinkView, Failure> {
    let new = NewLink { name: name.to_owned(), owner: Some(owner.to_owned()), spec };
    client.post(LINKS, &[], &new)
}

/// Removes every link of `owner`; that there is none is no error.
///
/// # Errors
/// The daemon's reason, or that it cannot be asked.
pub(crate) fn remove(client: &mut Client, owner: &str) -> Result<(), Failure> {
    client.delete(LINKS, &[("owner", owner)])
}
