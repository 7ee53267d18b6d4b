//! Bodies of requests, state files and messages of the keeper as any bytes, for `umacvlan-fuzz`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use umacvlan_api::{LinkChange, LinkSpec, LogFilter, NewLink};

use crate::keeper::protocol::Message;
use crate::link_record::LinkRecord;
use crate::parent_record::ParentRecord;
use crate::record_store::{decode, encode};
use crate::store::Numbers;

/// Reads the body of each request that has one.
pub fn body(bytes: &[u8]) {
    repeatable::<LinkSpec>(bytes);
    repeatable::<NewLink>(bytes);
    // A body that is not understood is refused.
    drop(serde_json::from_slice::<LinkChange>(bytes));
    drop(serde_json::from_slice::<LogFilter>(bytes));
}

/// Reads a state file of each kind. One that is understood is written and read without a change.
pub fn state_file(bytes: &[u8]) {
    same::<LinkRecord>(bytes);
    same::<ParentRecord>(bytes);
    same::<String>(bytes);
    drop(decode::<Numbers>(bytes));
}

/// Reads a message between the daemon and the keeper, after a byte that is the number of descriptors
/// with which it came. One that is understood is written as it was.
pub fn keeper_message(bytes: &[u8]) {
    if let Some((&descriptors, bytes)) = bytes.split_first()
        && let Ok(message) = Message::decode(bytes, descriptors.into())
    {
        assert_eq!(message.encode(), bytes, "{message:?}");
    }
}

fn same<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(record) = decode::<T>(bytes) {
        let written = encode(&record).map_err(|error| error.to_string());
        assert_eq!(written.and_then(|written| decode::<T>(&written)), Ok(record));
    }
}

fn repeatable<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        let again = serde_json::to_vec(&value).map(|text| serde_json::from_slice::<T>(&text));
        assert_eq!(again.ok().and_then(Result::ok), Some(value));
    }
}
