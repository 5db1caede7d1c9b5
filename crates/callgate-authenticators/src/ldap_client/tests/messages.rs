use callgate_testkit::ldap::{bind_result, entry, search_done};
use proptest::prelude::*;

use crate::ldap_client::{
    ber::Reader,
    message::{Entry, Message, Request, Response, Search},
};

fn decode(id: i32, operation: &[u8]) -> Option<Message> {
    let whole = callgate_testkit::ldap::message(id, operation);
    Message::decode(Reader(&whole).expect(0x30)?)
}

#[test]
fn results_entries_and_controls_are_read() {
    let bind = decode(7, &bind_result(49, "no\n", &[("1.2.3", b"\x30\x00")])).unwrap();
    let Response::Bind(result) = bind.response else { panic!("{bind:?}") };
    assert_eq!((bind.id, result.code, result.message.as_str()), (7, 49, "no\\n"));
    assert_eq!(result.controls, [("1.2.3".to_owned(), vec![0x30, 0])]);
    let found = decode(1, &entry("uid=a,dc=x", &[("uid", &[b"a"]), ("CN;lang-de", &[b"A", b"B"])]));
    let Some(Message { response: Response::Entry(found), .. }) = found else { panic!("{found:?}") };
    assert_eq!(found.dn, "uid=a,dc=x");
    assert_eq!(found.values("UID").collect::<Vec<_>>(), [b"a"]);
    assert_eq!(found.values("cn").count(), 0);
}

#[test]
fn long_messages_of_a_directory_are_cut() {
    let long = decode(1, &bind_result(53, &"x".repeat(10_000), &[])).unwrap();
    let Response::Bind(result) = long.response else { panic!("{long:?}") };
    assert_eq!(result.message.chars().count(), 201);
}

#[test]
fn malformed_messages_are_refused() {
    let done = search_done(0);
    for cut in 1..done.len() {
        assert_eq!(decode(1, &done[..cut]), None, "{cut}");
    }
    let mut deep = Vec::new();
    for _ in 0..100_000 {
        deep.extend([0x30, 0x80]);
    }
    assert_eq!(Message::decode(&deep), None);
    // Operations that only a client sends, or that answer nothing.
    for tag in [0x60, 0x63, 0x42, 0x66, 0x79, 0x1f] {
        assert_eq!(decode(1, &[tag, 0]), None, "{tag:#x}");
    }
    let trailing = [done, vec![4, 0]].concat();
    assert_eq!(decode(1, &trailing), None);
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes);
        let _ = decode(1, &bytes);
    }

    #[test]
    fn entries_survive_a_round_trip(
        dn in ".{0,40}",
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..5),
    ) {
        let slices: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let read = decode(1, &entry(&dn, &[("x", &slices)]));
        let attributes = vec![("x".to_owned(), values)];
        let expected = Message { id: 1, response: Response::Entry(Entry { dn, attributes }) };
        prop_assert_eq!(read, Some(expected));
    }
}

#[test]
fn searches_have_the_form_of_rfc_4511() {
    let filter = ldap3::parse_filter("(uid=a)").unwrap();
    let scope = crate::ldap_client::message::Scope::Sub;
    let search =
        Search { base: "dc=x", scope, filter, attributes: &["uid"], size_limit: 2, time_limit: 1 };
    let encoded = Request::search(search).encode(3);
    let mut outer = Reader(&encoded);
    let mut message = Reader(outer.expect(0x30).unwrap());
    assert_eq!(message.number(2), Some(3));
    let mut operation = Reader(message.expect(0x63).unwrap());
    assert_eq!(operation.expect(4), Some(&b"dc=x"[..]));
    let numbers = [(0x0a, 2), (0x0a, 0), (2, 2), (2, 1)];
    for (tag, value) in numbers {
        assert_eq!(operation.number(tag), Some(value));
    }
    assert_eq!(operation.expect(1), Some(&[0][..]));
    assert_eq!(operation.expect(0xa3), Some(&b"\x04\x03uid\x04\x01a"[..]));
    assert_eq!(operation.expect(0x30), Some(&b"\x04\x03uid"[..]));
    assert!(operation.is_empty() && message.is_empty());
}
