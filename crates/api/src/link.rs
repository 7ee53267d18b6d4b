//! [`LinkView`]: a link as it is shown.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use umacvlan_core::mac::ParseMacError;
use umacvlan_core::switch::{DEFAULT_BC_CUTOFF, ParseModeError};
use umacvlan_core::{MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode};
use utoipa::ToSchema;

use super::counters::SubCounters;

/// Everything about a link: the object of `ip -j -d -s -s link show` for a macvlan, and ours.
/// Clients leave out what was not asked for.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct LinkView {
    pub ifindex: u32,
    /// The parent's name.
    pub link: Option<String>,
    pub ifname: String,
    pub flags: Vec<String>,
    pub mtu: u32,
    pub qdisc: Option<String>,
    pub operstate: String,
    pub linkmode: String,
    pub group: String,
    pub txqlen: u32,
    pub link_type: String,
    pub address: Option<String>,
    pub broadcast: Option<String>,
    pub promiscuity: u32,
    pub allmulti: Option<u32>,
    pub min_mtu: u32,
    pub max_mtu: u32,
    pub linkinfo: LinkInfo,
    pub inet6_addr_gen_mode: Option<String>,
    pub num_tx_queues: Option<u32>,
    pub num_rx_queues: Option<u32>,
    pub gso_max_size: Option<u32>,
    pub gso_max_segs: Option<u32>,
    pub tso_max_size: Option<u32>,
    pub tso_max_segs: Option<u32>,
    pub gro_max_size: Option<u32>,
    pub ifalias: Option<String>,
    pub stats64: Stats,
    pub umacvlan: Own,
}

/// `macvlan`, and what belongs to it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct LinkInfo {
    pub info_kind: String,
    pub info_data: InfoData,
}

/// As iproute2 6.4 and later show it; what does not apply is absent.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct InfoData {
    pub mode: String,
    /// `true`, or absent.
    pub nopromisc: Option<bool>,
    /// `true`, or absent.
    pub nodst: Option<bool>,
    pub bcqueuelen: u32,
    pub usedbcqueuelen: u32,
    /// Absent when 1, the default.
    pub bclim: Option<i32>,
    /// Source mode only, also when 0.
    pub macaddr_count: Option<u32>,
    /// Absent when empty.
    pub macaddr_data: Option<Vec<String>>,
}

/// An [`InfoData`] that no daemon of this version sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InfoDataError {
    /// An address of the source list.
    #[error(transparent)]
    Address(#[from] ParseMacError),
    /// The mode.
    #[error(transparent)]
    Mode(#[from] ParseModeError),
}

impl InfoData {
    /// Shows these settings. `bclim` and `used`, the broadcast queue in use, are the parent's.
    pub fn new(settings: &MacvlanSettings, bclim: i32, used: u32) -> Self {
        let MacvlanSettings { mode, flags, sources, .. } = settings;
        let on = |flag| flags.contains(flag).then_some(true);
        let is_source = *mode == Mode::Source;
        let addresses = || sources.iter().map(ToString::to_string).collect();
        Self {
            mode: mode.to_string(),
            nopromisc: on(MacvlanFlag::Nopromisc),
            nodst: on(MacvlanFlag::Nodst),
            bcqueuelen: settings.bc_queue_len(),
            usedbcqueuelen: used,
            bclim: (bclim != DEFAULT_BC_CUTOFF).then_some(bclim),
            macaddr_count: is_source.then(|| u32::try_from(sources.len()).unwrap_or(u32::MAX)),
            macaddr_data: (is_source && !sources.is_empty()).then(addresses),
        }
    }

    /// The flags that are on.
    pub fn flags(&self) -> MacvlanFlags {
        let on = |shown: Option<bool>| shown.unwrap_or_default();
        MacvlanFlags::default()
            .with(MacvlanFlag::Nodst, on(self.nodst))
            .with(MacvlanFlag::Nopromisc, on(self.nopromisc))
    }

    /// The settings that are shown, none of them absent.
    ///
    /// # Errors
    /// The mode or an address cannot be parsed.
    pub fn settings(&self) -> Result<MacvlanSettings, InfoDataError> {
        let addresses = self.macaddr_data.iter().flatten();
        Ok(MacvlanSettings {
            mode: self.mode.parse()?,
            flags: self.flags(),
            bcqueuelen: Some(self.bcqueuelen),
            bclim: Some(self.bclim.unwrap_or(DEFAULT_BC_CUTOFF)),
            sources: addresses.map(|address| address.parse()).collect::<Result<_, _>>()?,
        })
    }
}

/// Counters as the kernel's macvlan has them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Stats {
    pub rx: RxStats,
    pub tx: TxStats,
}

/// What came to the link.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct RxStats {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
    pub over_errors: u64,
    pub multicast: u64,
    pub length_errors: u64,
    pub crc_errors: u64,
    pub frame_errors: u64,
    pub fifo_errors: u64,
    pub missed_errors: u64,
    /// Absent when 0.
    pub nohandler: Option<u64>,
}

/// What the link sent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TxStats {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
    pub carrier_errors: u64,
    pub collisions: u64,
    pub aborted_errors: u64,
    pub fifo_errors: u64,
    pub window_errors: u64,
    pub heartbeat_errors: u64,
    pub carrier_changes: u64,
}

/// What only umacvlan knows of a link.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct Own {
    /// Its number for life, through renaming, moving and restarts of the daemon.
    pub id: u64,
    /// The parent's name.
    pub parent: String,
    /// The name under which the configuration has it; absent for a link made by request.
    pub config: Option<String>,
    /// What whoever asked for it finds it by; absent if that was not said.
    pub owner: Option<String>,
    /// Where it lives: the name of the namespace where it has one in /run/netns, else
    /// `net:[INODE]`; absent in the daemon's own.
    pub netns: Option<String>,
    /// The parent's index, and the id of its namespace as the link's own knows it; the second is
    /// absent when they are the same.
    pub link_index: u32,
    pub link_netnsid: Option<i32>,
    /// What carries the frames of its parent: `af-packet`, `af-xdp`, or `none` while that is
    /// absent.
    pub backend: String,
    /// How AF_XDP gets at them: `zero-copy`, `native` or `generic`.
    pub xdp: Option<String>,
    /// Why nothing better carries them, where there was a choice.
    pub backend_why: Option<String>,
    /// How its TAP is read and written: `uring` or `plain`.
    pub io: String,
    /// The CPU that its worker is pinned to.
    pub cpu: Option<u32>,
    /// How its worker waits.
    pub poll: String,
    /// The groups it listens to, unless it listens to all.
    pub groups: Vec<String>,
    /// It listens to every group.
    pub all_groups: bool,
    /// Frames that its own kernel queue had no room for, before the engine could read them.
    pub queue_drops: u64,
    /// What the engine has counted.
    pub counters: SubCounters,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_shown_are_read_again() {
        for flag in MacvlanFlag::ALL {
            let settings = MacvlanSettings {
                flags: MacvlanFlags::default().with(flag, true),
                bcqueuelen: Some(7),
                bclim: Some(-1),
                sources: vec!["02:00:00:00:00:09".parse().unwrap()],
                ..MacvlanSettings::new(Mode::Source)
            };
            assert_eq!(InfoData::new(&settings, -1, 1000).settings(), Ok(settings));
        }
        let unknown = InfoData { mode: "loud".to_owned(), ..InfoData::default() };
        assert!(matches!(unknown.settings(), Err(InfoDataError::Mode(_))));
    }
}
