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

/// Limits: mostly none.
pub(super) fn limits(byte: u8) -> Limits {
    use umacvlan_core::limit::LimitKind::{Bcrate, RxBurst, RxPps, TxBurst, TxRate};
    let value = |bit: u8| u64::from(byte >= 192 && byte & bit != 0) * 1000;
    let kinds = [(1, RxPps), (2, TxRate), (4, Bcrate), (8, TxBurst), (16, RxBurst)];
    kinds.into_iter().fold(Limits::default(), |limits, (bit, kind)| limits.with(kind, value(bit)))
}
