//! [`TokenBucket`]: the queue of an interface that sends at a limited rate (tc-tbf(8)).

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption, TcStats2};

use super::{Result, Rtnl};

/// A token bucket filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// Bits per second, link-layer headers included.
    pub rate: u64,
    /// Bytes of the bucket: a larger GSO packet is segmented before it is queued.
    pub burst: u32,
    /// Bytes that may wait; what comes beyond that is dropped.
    pub limit: u32,
}

impl Rtnl {
    /// Gives an interface this queue, in place of the one that it has.
    ///
    /// # Errors
    /// `ENOENT` from a kernel without tbf, `EINVAL` for a bucket that holds no packet.
    pub fn set_token_bucket(&mut self, index: u32, bucket: TokenBucket) -> Result<()> {
        let mut message = root(index);
        let option = |kind, value| TcOption::Other(DefaultNla::new(kind, value));
        message.attributes = vec![
            TcAttribute::Kind("tbf".to_owned()),
            TcAttribute::Options(vec![
                option(TCA_TBF_PARMS, bucket.parameters()),
                option(TCA_TBF_RATE64, bucket.bytes_per_second().to_ne_bytes().to_vec()),
                option(TCA_TBF_BURST, bucket.burst.to_ne_bytes().to_vec()),
            ]),
        ];
        let action = format!("give interface {index} a token bucket filter");
        let message = RouteNetlinkMessage::NewQueueDiscipline(message);
        self.request(&action, message, NLM_F_CREATE | NLM_F_REPLACE)?;
        Ok(())
    }

    /// Removes the queue that an interface was given; its driver's default takes its place.
    ///
    /// # Errors
    /// `ENOENT` if it was given none.
    pub fn remove_queue(&mut self, index: u32) -> Result<()> {
        let action = format!("remove the queue of interface {index}");
        self.request(&action, RouteNetlinkMessage::DelQueueDiscipline(root(index)), 0)?;
        Ok(())
    }

    /// The packets that the queue of an interface has dropped; 0 without a queue.
    ///
    /// # Errors
    /// The request failed.
    pub fn queue_drops(&mut self, index: u32) -> Result<u32> {
        // The kernel lists the queues of all interfaces, whichever is named.
        let request = RouteNetlinkMessage::GetQueueDiscipline(root(index));
        let found = self.dump("list the queues of interfaces", &request)?;
        let drops = found.into_iter().find_map(|message| match message {
            RouteNetlinkMessage::NewQueueDiscipline(message) => drops_at(&message, index),
            _ => None,
        });
        Ok(drops.unwrap_or_default())
    }
}

impl TokenBucket {
    const fn bytes_per_second(self) -> u64 {
        self.rate / 8
    }

    /// `struct tc_tbf_qopt` (linux/pkt_sched.h). The bucket is in [`TCA_TBF_BURST`], in bytes, and
    /// not here, in units of the kernel's clock.
    fn parameters(self) -> Vec<u8> {
        let rate = u32::try_from(self.bytes_per_second()).unwrap_or(u32::MAX);
        let mut bytes = vec![0; QOPT_LEN];
        bytes[RATE_LINKLAYER] = TC_LINKLAYER_ETHERNET;
        bytes[RATE..RATE + 4].copy_from_slice(&rate.to_ne_bytes());
        bytes[LIMIT..LIMIT + 4].copy_from_slice(&self.limit.to_ne_bytes());
        bytes
    }
}

/// A message about the root queue of an interface.
fn root(index: u32) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = index.cast_signed();
    message.header.parent = TcHandle::ROOT;
    message
}

/// The drops in this message, if it is about the root queue of that interface.
fn drops_at(message: &TcMessage, index: u32) -> Option<u32> {
    let header = &message.header;
    if header.index != index.cast_signed() || header.parent != TcHandle::ROOT {
        return None;
    }
    message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Stats2(stats) => stats.iter().find_map(|stats| match stats {
            TcStats2::Queue(queue) => Some(queue.drops),
            _ => None,
        }),
        _ => None,
    })
}

/// Attributes of the options of tbf (linux/pkt_sched.h).
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;

/// Size and offsets in `struct tc_tbf_qopt`, which begins with the `struct tc_ratespec` of the rate.
const QOPT_LEN: usize = 36;
const RATE_LINKLAYER: usize = 1;
const RATE: usize = 8;
const LIMIT: usize = 24;

/// The bytes of a packet are those of its Ethernet frame, without cells to fill (linux/pkt_sched.h).
const TC_LINKLAYER_ETHERNET: u8 = 1;
