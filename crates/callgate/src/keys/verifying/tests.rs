use aws_lc_rs::digest::{SHA512, digest};
use curve25519_dalek::{
    constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION},
    edwards::EdwardsPoint,
    scalar::Scalar,
};

use super::*;
use crate::keys::{KeyKind, KeyPair, UserKey};

fn ready(point: EdwardsPoint) -> Ed25519Key {
    Ed25519Key::from_bytes(&point.compress().to_bytes()).unwrap()
}

fn strictly(key: &Ed25519Key, message: &[u8], signature: &[u8; 64]) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    key.0.verify_strict(message, &signature).is_ok()
}

/// A signature whose R is `torsion`, by a key with a component of small order: the secret scalar times
/// the basepoint, plus `part`. An attacker who chooses this key needs only a few attempts.
fn forged(secret: Scalar, part: EdwardsPoint, torsion: EdwardsPoint) -> (Vec<u8>, [u8; 64]) {
    let public = (secret * ED25519_BASEPOINT_POINT + part).compress().to_bytes();
    let r = torsion.compress().to_bytes();
    for number in 0..10_000u32 {
        let message = number.to_le_bytes();
        let hash = digest(&SHA512, &[&r[..], &public[..], &message[..]].concat());
        let k = Scalar::from_bytes_mod_order_wide(hash.as_ref().try_into().unwrap());
        // s·B − k·A = s·B − k·secret·B − k·part
        if -(k * part) == torsion {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&r);
            signature[32..].copy_from_slice((k * secret).as_bytes());
            return (message.to_vec(), signature);
        }
    }
    panic!("no message gives this point");
}

#[test]
fn signature_with_a_point_of_small_order_is_refused() {
    let secret = Scalar::from(0xC0FFEE_u64);
    let part = EIGHT_TORSION[1];
    let key = ready(secret * ED25519_BASEPOINT_POINT + part);
    for torsion in EIGHT_TORSION {
        let (message, signature) = forged(secret, part, torsion);
        let parsed = ed25519_dalek::Signature::from_bytes(&signature);
        assert!(key.0.verify(&message, &parsed).is_ok(), "else it shows nothing");
        assert!(!strictly(&key, &message, &signature));
        assert!(!key.verifies(&message, &signature));
    }
}

#[test]
fn points_of_small_order_are_those_of_the_curve() {
    for torsion in EIGHT_TORSION {
        assert!(is_small_order(&torsion.compress().to_bytes()));
    }
    assert!(!is_small_order(&ED25519_BASEPOINT_POINT.compress().to_bytes()));
    let mut listed: Vec<_> = EIGHT_TORSION.map(|point| point.compress().to_bytes()).to_vec();
    listed.iter_mut().for_each(|y| y[31] &= 0x7f);
    listed.sort_unstable();
    listed.dedup();
    let mut ours = SMALL_ORDER.to_vec();
    ours.sort_unstable();
    assert_eq!(ours, listed, "none is missing, and none too many");
}

#[test]
fn whatever_bit_is_changed_the_answer_is_that_of_strict_verification() {
    let pair = KeyPair::generate(KeyKind::User).unwrap();
    let key = pair.public_key().parse::<UserKey>().unwrap().verifying().unwrap().key;
    let signature = pair.sign(b"message").unwrap();
    assert!(key.verifies(b"message", &signature) && strictly(&key, b"message", &signature));
    for bit in 0..512 {
        let mut changed = signature;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!key.verifies(b"message", &changed), "bit {bit}");
        assert!(!strictly(&key, b"message", &changed), "bit {bit}");
    }
    assert!(!key.verifies(b"message", &signature[..63]) && !key.verifies(b"message", b""));
}

/// R with y = p + 1, another spelling of y = 1, and an s that is not below the group's order.
#[test]
fn values_that_are_not_canonical_are_refused() {
    let secret = Scalar::from(7u64);
    let key = ready(secret * ED25519_BASEPOINT_POINT);
    let mut r = [0xff; 32];
    (r[0], r[31]) = (0xee, 0x7f);
    for (r, s) in [(r, [0; 32]), (ED25519_BASEPOINT_POINT.compress().to_bytes(), [0xff; 32])] {
        let signature: [u8; 64] = [r, s].concat().try_into().unwrap();
        assert!(!key.verifies(b"message", &signature));
        assert!(!strictly(&key, b"message", &signature));
    }
}

#[test]
fn only_a_key_with_a_good_signature_is_remembered() {
    let pair = KeyPair::generate(KeyKind::User).unwrap();
    let key = pair.public_key().parse::<UserKey>().unwrap();
    let (known, good) = (VerifyingKeys::new(8), pair.sign(b"message").unwrap());
    assert_eq!(known.verified(&key, b"message", &[0; 64]), Ok(false));
    assert!(known.0.is_empty());
    assert_eq!(known.verified(&key, b"message", &good), Ok(true));
    assert_eq!(known.0.len(), 1);
    assert_eq!(known.verified(&key, b"massage", &good), Ok(false));
    assert_eq!(known.verified(&key, b"message", &good), Ok(true));
    let mut identity = [0; 32];
    identity[0] = 1;
    let weak = UserKey::from_bytes(identity);
    assert_eq!(known.verified(&weak, b"message", &good), Err(KeyError::NotAPoint));
}
