//! The rule about limits.

use umacvlan_core::limit::{LimitKind, Limits};
use umacvlan_core::{SubIndex, SwitchError};

use super::Model;

impl Model {
    pub(crate) fn set_limits(&mut self, id: SubIndex, limits: Limits) -> Result<(), SwitchError> {
        allowed(limits)?;
        self.sub(id)?.limits = limits;
        Ok(())
    }
}

/// A burst needs a rate that it exceeds.
pub(super) fn allowed(limits: Limits) -> Result<(), SwitchError> {
    let needs = [(LimitKind::RxBurst, LimitKind::RxRate), (LimitKind::TxBurst, LimitKind::TxRate)];
    for (burst, rate) in needs {
        if limits.get(burst) > 0 && limits.get(rate) == 0 {
            let (burst, rate) = (burst.name(), rate.name());
            return Err(SwitchError::BurstWithoutRate { burst, rate });
        }
    }
    Ok(())
}
