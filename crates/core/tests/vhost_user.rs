//! Messages as front-ends send them, and those that lie.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

use proptest::prelude::*;
use umacvlan_core::vhost_user::*;

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn header(request: u32) -> Header {
    Header { request, size: 0, need_reply: false }
}

fn table(regions: &[[u64; 4]]) -> Result<Request, MessageError> {
    let mut payload = bytes(&[u64::try_from(regions.len()).unwrap()]);
    regions.iter().for_each(|region| payload.extend(bytes(region)));
    Request::parse(header(5), &payload, regions.len())
}

#[test]
fn a_header_is_that_of_a_request_of_version_1() {
    let parse = |request: u32, flags: u32, size: u32| {
        let mut bytes = [0; HEADER_LEN];
        for (to, word) in bytes.chunks_exact_mut(4).zip([request, flags, size]) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        Header::parse(&bytes)
    };
    let asked = Header { request: 5, size: PAYLOAD_MAX, need_reply: true };
    let longest = u32::try_from(PAYLOAD_MAX).unwrap();
    assert_eq!(parse(5, 9, longest), Ok(asked));
    for flags in [0, 2, 3, 5] {
        assert_eq!(parse(1, flags, 0), Err(MessageError::Flags(flags)));
    }
    let too_long = MessageError::Length { request: 1, size: longest + 1 };
    assert_eq!(parse(1, 1, longest + 1), Err(too_long));
}

#[test]
fn requests_have_their_length_and_their_descriptors() {
    let features = bytes(&[1 << 32]);
    assert_eq!(Request::parse(header(2), &features, 0), Ok(Request::SetFeatures(1 << 32)));
    let short = MessageError::Length { request: 2, size: 7 };
    assert_eq!(Request::parse(header(2), &features[..7], 0), Err(short));
    let extra = MessageError::Descriptors { request: 2, count: 1, expected: 0 };
    assert_eq!(Request::parse(header(2), &features, 1), Err(extra));
    let kick = |word, count| Request::parse(header(12), &bytes(&[word]), count);
    assert_eq!(kick(1, 1), Ok(Request::SetVringKick(1, true)));
    assert_eq!(kick(0x100, 0), Ok(Request::SetVringKick(0, false)));
    assert_eq!(kick(2, 1), Err(MessageError::Ring(2)));
    let missing = MessageError::Descriptors { request: 12, count: 0, expected: 1 };
    assert_eq!(kick(1, 0), Err(missing));
    let size = |entries: u64| Request::parse(header(8), &bytes(&[entries << 32]), 0);
    assert_eq!(size(256), Ok(Request::SetVringNum(0, 256)));
    for entries in [0, 3, 2048, 0x1_0100] {
        let entries = u32::try_from(entries).unwrap();
        assert_eq!(size(entries.into()), Err(MessageError::RingSize(entries)));
    }
    assert_eq!(Request::parse(header(99), &[], 0), Err(MessageError::Unknown(99)));
}

#[test]
fn regions_do_not_overlap_wrap_around_or_end_nowhere() {
    let region = Region { guest: 0, size: 4096, user: 1 << 40, offset: 8 };
    assert_eq!(table(&[[0, 4096, 1 << 40, 8]]), Ok(Request::SetMemTable(vec![region])));
    let beside = [[0, 4096, 1 << 40, 0], [4096, 4096, 1 << 41, 0]];
    assert!(table(&beside).is_ok());
    let wrong = [
        vec![],
        vec![[0, 0, 0, 0]],
        vec![[u64::MAX, 2, 0, 0]],
        vec![[0, 2, u64::MAX, 0]],
        vec![[0, 2, 0, u64::MAX]],
        vec![[0, MEMORY_MAX + 1, 0, 0]],
        vec![[0, 4096, 0, 0], [4095, 1, 1 << 30, 0]],
        vec![[0, 4096, 0, 0], [1 << 30, 1, 4095, 0]],
    ];
    for regions in wrong {
        assert_eq!(table(&regions), Err(MessageError::Regions), "{regions:?}");
    }
    let mut long = bytes(&[1]);
    long.extend([0; 33]);
    assert!(Request::parse(header(5), &long, 1).is_err());
}

#[test]
fn replies_carry_a_number() {
    let bytes = reply(1, 0x1234);
    assert_eq!(bytes[..4], 1_u32.to_ne_bytes());
    assert_eq!(bytes[4..8], 5_u32.to_ne_bytes());
    assert_eq!(bytes[8..12], 8_u32.to_ne_bytes());
    assert_eq!(bytes[12..], 0x1234_u64.to_ne_bytes());
    assert_eq!(reply_base(1, 7)[12..], [1_u32.to_ne_bytes(), 7_u32.to_ne_bytes()].concat());
}

proptest! {
    #[test]
    fn any_payload_is_a_request_or_an_error(
        request in 0..40_u32,
        payload in prop::collection::vec(any::<u8>(), 0..=PAYLOAD_MAX),
        count in 0..10_usize,
    ) {
        if let Ok(Request::SetMemTable(regions)) = Request::parse(header(request), &payload, count) {
            prop_assert_eq!(regions.len(), count);
        }
    }
}
