//! Rules of a sub-interface that the kernel's macvlan does not have: which siblings, addresses and
//! EtherTypes it exchanges frames with, and from which IP addresses it sends.
//!
//! [`Rules`] are the settings; [`Switch`](crate::Switch) decides by them. An empty rule allows
//! everything.

mod change;
mod ethertype;
mod group;
mod settings;
mod source_ip;

pub use change::{RuleOp, RulesChange};
pub use ethertype::EtherType;
pub use group::IsolationGroup;
pub use settings::{RuleError, RuleWord, Rules};
