use super::*;

/// Every key is made by the `nkeys` crate, an implementation that is not ours.
#[test]
fn keys_of_another_implementation_are_read_and_written_alike() {
    for (kind, theirs) in [
        (KeyKind::Operator, nkeys::KeyPair::new_operator()),
        (KeyKind::Account, nkeys::KeyPair::new_account()),
        (KeyKind::User, nkeys::KeyPair::new_user()),
        (KeyKind::Server, nkeys::KeyPair::new_server()),
        (KeyKind::Cluster, nkeys::KeyPair::new_cluster()),
    ] {
        let seed = Seed::parse(&theirs.seed().unwrap()).unwrap();
        assert_eq!(seed.kind(), kind);
        let ours = KeyPair::from_seed(seed).unwrap();
        assert_eq!(ours.public_key(), theirs.public_key());
        assert_eq!(ours.seed().expose(), theirs.seed().unwrap());
        theirs.verify(b"message", &ours.sign(b"message").unwrap()).unwrap();
        let verifying = parse_public(&theirs.public_key(), &[kind]).unwrap();
        assert!(verifying.verifies(b"message", &theirs.sign(b"message").unwrap()));
        assert!(!verifying.verifies(b"massage", &theirs.sign(b"message").unwrap()));
    }
}

#[test]
fn boxes_of_another_implementation_open_and_ours_open_there() {
    let theirs = nkeys::XKey::new();
    let ours = CurveKey::generate().unwrap();
    let public = nkeys::XKey::from_public_key(ours.public_key().as_str()).unwrap();
    let shared = ours.shared_with(&theirs.public_key().parse().unwrap()).unwrap();

    assert_eq!(**shared.open(&theirs.seal(b"to us", &public).unwrap()).unwrap(), *b"to us");
    assert_eq!(theirs.open(&shared.seal(b"to them").unwrap(), &public).unwrap(), b"to them");
    let again = CurveKey::from_seed(&Secret::new(theirs.seed().unwrap())).unwrap();
    assert_eq!(again.public_key().as_str(), theirs.public_key());
    assert_eq!(again.seed().expose(), theirs.seed().unwrap());
}

#[test]
fn changed_box_does_not_open() {
    let (left, right) = (CurveKey::generate().unwrap(), CurveKey::generate().unwrap());
    let shared = left.shared_with(right.public_key()).unwrap();
    let sealed = shared.seal(b"secret").unwrap();
    for position in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[position] ^= 1;
        assert!(shared.open(&changed).is_err(), "byte {position} could be changed");
    }
    for length in 0..sealed.len() {
        assert!(shared.open(&sealed[..length]).is_err(), "it could be cut to {length} bytes");
    }
}

#[test]
fn curve_key_of_small_order_is_refused() {
    let zero = CurvePublicKey::from_bytes([0; 32]);
    let key = CurveKey::generate().unwrap();
    assert_eq!(key.shared_with(&zero).unwrap_err(), CurveError::BadPeer);
}

#[test]
fn wrong_kind_of_key_is_named() {
    let user = nkeys::KeyPair::new_user();
    let account = nkeys::KeyPair::new_account();
    let seed = Secret::new(user.seed().unwrap());
    let table = [
        (
            AccountSigner::from_seed(&seed).unwrap_err(),
            "this is a user seed (SU…), but an account seed (SA…) is needed here",
        ),
        (
            AccountSigner::from_seed(&Secret::new(account.public_key())).unwrap_err(),
            "this is an account public key (A…), but a seed (S…) is needed here",
        ),
        (
            account.seed().unwrap().parse::<AccountKey>().unwrap_err(),
            "this is an account seed (SA…), but an account public key (A…) is needed here",
        ),
        (
            "hello".parse::<AccountKey>().unwrap_err(),
            "this is not an nkey (base32 text such as `A…`)",
        ),
    ];
    for (error, message) in table {
        assert_eq!(error.to_string(), message);
        assert!(!error.to_string().contains(seed.expose()));
    }
}

#[test]
fn no_mistyped_or_cut_key_is_accepted() {
    let text = nkeys::KeyPair::new_account().public_key();
    for length in 0..text.len() {
        assert!(text[..length].parse::<AccountKey>().is_err());
    }
    for position in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(changed.parse::<AccountKey>().is_err(), "{changed}");
    }
    assert!(text.to_lowercase().parse::<AccountKey>().is_err());
}

#[test]
fn seed_is_found_between_comment_lines() {
    let user = nkeys::KeyPair::new_user();
    let text = format!(
        "-----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.seed().unwrap()
    );
    assert_eq!(Seed::find(&text).unwrap().kind(), KeyKind::User);
    assert!(Seed::find("").is_err());
    assert!(matches!(Seed::find(&user.public_key()), Err(KeyError::WrongKind { .. })));
}

#[test]
fn keys_of_small_order_cannot_verify() {
    let identity = {
        let mut bytes = [0u8; 32];
        bytes[0] = 1;
        UserKey::from_bytes(bytes)
    };
    assert_eq!(identity.verifying().unwrap_err(), KeyError::NotAPoint);
}

#[test]
fn signatures_are_read_in_either_base64() {
    let raw = [0xFBu8; 64];
    for text in [
        data_encoding::BASE64URL_NOPAD.encode(&raw),
        data_encoding::BASE64URL.encode(&raw),
        data_encoding::BASE64.encode(&raw),
        data_encoding::BASE64_NOPAD.encode(&raw),
    ] {
        assert_eq!(decode_signature(&text), Some(raw));
    }
    assert_eq!(decode_signature("AAAA"), None);
}

#[test]
fn debug_never_shows_a_seed() {
    let pair = KeyPair::generate(KeyKind::User).unwrap();
    let shown = format!("{:?} {:?}", pair, Seed::parse(pair.seed().expose()).unwrap());
    assert!(!shown.contains(pair.seed().expose()));
}
