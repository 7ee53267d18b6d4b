//! The right to create network namespaces.

use anyhow::{Context, Result};
use umacvlan_sys::netns::{Netns, enter_user_namespace};

/// Makes sure that this process may create namespaces: as root, or as root of a user namespace.
/// `user` names what needs them.
///
/// # Errors
/// The kernel allows neither.
pub(crate) fn ensure_allowed(user: &str) -> Result<()> {
    let Err(refused) = Netns::create() else {
        return Ok(());
    };
    enter_user_namespace().with_context(|| format!("{user} needs namespaces of its own: {refused}"))
}
