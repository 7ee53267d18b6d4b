//! [`Bandwidth`]: the capability of that name.

use serde::Deserialize;
use serde_with::{DefaultOnNull, serde_as};
use umacvlan_core::limit::{LimitKind, Limits};

use super::error::{CONFIG, CniError};

/// The capability `bandwidth`, as of the plugin of that name: bits per second, and bits; zero is none.
/// Ingress is what the container receives.
#[serde_as]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Bandwidth {
    #[serde_as(as = "DefaultOnNull")]
    ingress_rate: u64,
    #[serde_as(as = "DefaultOnNull")]
    ingress_burst: u64,
    #[serde_as(as = "DefaultOnNull")]
    egress_rate: u64,
    #[serde_as(as = "DefaultOnNull")]
    egress_burst: u64,
}

impl Bandwidth {
    /// These limits with those of the capability in place of the same ones.
    ///
    /// # Errors
    /// A burst without a rate.
    pub(super) fn over(&self, mut limits: Limits) -> Result<Limits, CniError> {
        use LimitKind::{RxBurst, RxRate, TxBurst, TxRate};
        for (name, rate, burst, kinds) in [
            ("ingress", self.ingress_rate, self.ingress_burst, (RxRate, RxBurst)),
            ("egress", self.egress_rate, self.egress_burst, (TxRate, TxBurst)),
        ] {
            match (rate, burst) {
                (0, 0) => {}
                (0, _) => {
                    let msg = format!("bandwidth: {name}Burst is set and {name}Rate is not");
                    return Err(CniError::new(CONFIG, msg));
                }
                // Without a burst, which the plugin demands, the default applies.
                _ => limits = limits.with(kinds.0, rate).with(kinds.1, burst / 8),
            }
        }
        match limits.lone_burst() {
            None => Ok(limits),
            Some((burst, rate)) => {
                let msg = format!("limits: {burst} is set and {rate} is not");
                Err(CniError::new(CONFIG, msg))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use umacvlan_api::LimitsJson;

    use super::*;

    #[test]
    fn the_capability_precedes_the_limits_of_the_configuration() {
        let over = |bandwidth, limits| {
            let bandwidth: Bandwidth = serde_json::from_value(bandwidth).unwrap();
            let limits: LimitsJson = serde_json::from_value(limits).unwrap();
            let limits = bandwidth.over(limits.into());
            limits.map(|limits| limits.to_string()).map_err(|error| error.msg)
        };
        let own = json!({"rate": "10mbit", "pps": 1000});
        assert_eq!(over(json!({}), own).as_deref(), Ok("pps 1000 rate 10mbit"));
        let given = json!({
            "ingressRate": 1_000_000, "ingressBurst": 80_000, "egressRate": 0, "egressBurst": null,
        });
        let expected = "rx_burst 10000b rx_rate 1mbit tx_rate 10mbit";
        assert_eq!(over(given, json!({"rate": "10mbit"})).as_deref(), Ok(expected));
        let lone = over(json!({"egressBurst": 8}), json!({})).unwrap_err();
        assert!(lone.contains("egressBurst is set and egressRate is not"), "{lone}");
        let lone = over(json!({}), json!({"burst": "1k"})).unwrap_err();
        assert!(lone.contains("rx_burst is set and rx_rate is not"), "{lone}");
    }
}
