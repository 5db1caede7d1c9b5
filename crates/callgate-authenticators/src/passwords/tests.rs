use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use callgate::{
    authn::{Decline, Overloaded, SourceKey},
    connection::ConnectionKind,
    request::{AuthRequest, Credential},
    secret::Secret,
};
use tokio::time::Instant;

use super::*;

const RIGHT: &str = "correct horse";

/// Made by passlib 1.7.4, argon2-cffi and Python's hashlib; all of [`RIGHT`].
const HASHES: [&str; 10] = [
    "$argon2id$v=19$m=64,t=2,p=2$c2FsdHNhbHRzYWx0c2FsdA$Sh1LF6dsajp2YjljvL/T0Tk68lSWQP232iGGbb+Qa5Y",
    "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$26dLPdRDe0KLFCV7qICigg",
    "$2b$04$FUfzNFuEZb2C0aSH06Nrye5Wx/Q9UR7q6WW4HGAXW4eO7tM2P1Sr2",
    "$2a$04$K6/XhlNSkQJUG/znSAQioOieKqskxYhe/DBzqrigZe4SjR24me0Ty",
    "$2y$04$4O/PjpRTSf2jUvv/J.aUleKQ2PYmMpcmw5VLANYRF2LWNz8rN1eiC",
    "$scrypt$ln=4,r=8,p=1$c2FsdHNhbHRzYWx0$E7/5hFKyIa/qZwRipZ2wJ8zG6C7W2+ArzZNltex+xis",
    "$pbkdf2-sha256$100$c2FsdHNhbHRzYWx0$TXYwD75fv6gZxZH92y2jwST5izlOjVSxqtKH1bALLeQ",
    "$pbkdf2-sha512$100$c2FsdHNhbHRzYWx0$ZRXKh69S2ifgy6XpWwPiL3lNCteoQpsPI16XGgiv.GNlh9v1e5.W4sYRsHZuCFl/2RR7BxxJ4qR20zLcsAK6YQ",
    "$pbkdf2-sha256$i=100,l=32$c2FsdHNhbHRzYWx0$TXYwD75fv6gZxZH92y2jwST5izlOjVSxqtKH1bALLeQ",
    "$pbkdf2-sha512$i=100,l=64$c2FsdHNhbHRzYWx0$ZRXKh69S2ifgy6XpWwPiL3lNCteoQpsPI16XGgiv+GNlh9v1e5+W4sYRsHZuCFl/2RR7BxxJ4qR20zLcsAK6YQ",
];

fn verifies(stored: &str, password: &str) -> bool {
    let stored = StoredPassword::parse(stored).unwrap();
    stored.verify(&Secret::new(password), &mut Scratch::default())
}

#[test]
fn hashes_of_other_tools_are_verified() {
    for hash in HASHES {
        assert!(verifies(hash, RIGHT), "{hash}");
        for wrong in ["", "correct horsf", "correct hors", "correct horse ", "Correct horse"] {
            assert!(!verifies(hash, wrong), "{hash}");
        }
    }
}

#[test]
fn clear_text_is_compared_exactly() {
    for clear in
        ["hunter2", "$5.00 for lunch", "{curly", "$", "Pa$$w0rd", "a$b", "10:30", "a:b", "x$$y$z"]
    {
        assert!(verifies(clear, clear), "{clear}");
        assert!(!verifies(clear, "") && !verifies(clear, &clear.to_uppercase().repeat(2)));
    }
    let stored = StoredPassword::clear("$argon2id$");
    assert!(stored.verify(&Secret::new("$argon2id$"), &mut Scratch::default()));
}

#[test]
fn text_that_begins_like_a_hash_must_be_one() {
    for text in [
        "$1$salt$hash",
        "$5$salt$hash",
        "$ecret$",
        "{SSHA}abc",
        "{x}",
        "a$argon2id$",
        "pbkdf2:sha256:260000$c2Fsd$c2Fsd",
        "scrypt:32768:8:1$c2Fsd$c2Fsd",
        "sha1$c2Fsd$c2Fsd",
        "pbkdf2_sha256$870000$c2Fsd",
        "alice:$apr1$c2Fsd$c2Fsd",
        "alice:$2y$05$c2Fsd",
        "$ecret",
        "${ECRET_ecret}",
        "$$ecret",
        "$2x$04$FUfzNFuEZb2C0aSH06Nrye5Wx/Q9UR7q6WW4HGAXW4eO7tM2P1Sr2",
        "$argon2i$v=19$m=64,t=2,p=2$c2FsdHNhbHRzYWx0c2FsdA$Sh1LF6dsajp2YjljvL/T0Tk68lSWQP232iGGbb+Qa5Y",
        "$argon2id$v=19$m=64,t=2,p=2$c2FsdHNhbHRzYWx0c2FsdA",
        "$argon2id$v=19$m=64,t=2$c2FsdHNhbHRzYWx0c2FsdA$Sh1LF6dsajp2YjljvL/T0Q",
        "$argon2id$v=19$m=64,t=2,p=+2$c2FsdHNhbHRzYWx0c2FsdA$Sh1LF6dsajp2YjljvL/T0Q",
        "$2b$04$FUfzNFuEZb2C0aSH06Nrye5Wx/Q9UR7q6WW4HGAXW4eO7tM2P1Sr",
        "$2b$4$FUfzNFuEZb2C0aSH06Nrye5Wx/Q9UR7q6WW4HGAXW4eO7tM2P1Sr2",
        "$2b$04$FUfzNFuEZb2C0aSH06Nrye5Wx/Q9UR7q6WW4HGAXW4eO7tM2P1é2",
        "$scrypt$ln=4,r=8$c2FsdHNhbHRzYWx0$E7/5hFKyIa/qZwRipZ2wJ8zG6C7W2+ArzZNltex+xis",
        "$pbkdf2-sha256$i=100,l=31$c2FsdHNhbHRzYWx0$TXYwD75fv6gZxZH92y2jwST5izlOjVSxqtKH1bALLeQ",
        "$pbkdf2$100$c2FsdHNhbHRzYWx0$TXYwD75fv6gZxZH92y2jwST5izlOjVSxqtKH1bALLeQ",
    ] {
        let error = StoredPassword::parse(text).unwrap_err().to_string();
        assert!(error.contains("password_plain"), "{error}");
        assert!(!error.contains("ecret") && !error.contains("c2Fsd"), "{error}");
    }
}

/// `django.contrib.auth.hashers.PBKDF2PasswordHasher`: the salt is not encoded, the hash is padded base64.
#[test]
fn hash_of_django_is_verified() {
    let salt = "saltsaltsalt";
    let mut derived = [0; 32];
    let rounds = std::num::NonZeroU32::new(100).unwrap();
    let algorithm = aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256;
    aws_lc_rs::pbkdf2::derive(algorithm, rounds, salt.as_bytes(), RIGHT.as_bytes(), &mut derived);
    let hash = data_encoding::BASE64.encode(&derived);
    let hash = format!("pbkdf2_sha256$100${salt}${hash}");
    assert!(verifies(&hash, RIGHT) && !verifies(&hash, &hash) && !verifies(&hash, "wrong"));
}

#[test]
fn parameters_out_of_bounds_are_refused() {
    let salted = |form: &str| format!("{form}$c2FsdHNhbHRzYWx0c2FsdA$Sh1LF6dsajp2YjljvL/T0Q");
    for form in [
        "$argon2id$v=19$m=1048577,t=2,p=1",
        "$argon2id$v=19$m=64,t=17,p=1",
        "$argon2id$v=19$m=64,t=0,p=1",
        "$argon2id$v=19$m=64,t=1,p=17",
        "$argon2id$v=19$m=7,t=1,p=1",
        "$argon2id$v=20$m=64,t=1,p=1",
        "$scrypt$ln=21,r=8,p=1",
        "$scrypt$ln=0,r=8,p=1",
        "$scrypt$ln=10,r=33,p=1",
        "$scrypt$ln=10,r=8,p=17",
        "$pbkdf2-sha256$10000001",
        "$pbkdf2-sha256$0",
    ] {
        let error = StoredPassword::parse(&salted(form)).unwrap_err();
        assert!(matches!(error, StoredError::OutOfBounds { .. }), "{form}: {error}");
    }
    for cost in ["03", "17", "31"] {
        let hash = format!("$2b${cost}$FUfzNFuEZb2C0aSH06Nrye5Wx/Q9UR7q6WW4HGAXW4eO7tM2P1Sr2");
        assert!(StoredPassword::parse(&hash).is_err(), "{cost}");
    }
    let short_hash = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$Sh1LFw";
    assert!(StoredPassword::parse(short_hash).is_err());
    let short_salt = "$pbkdf2-sha256$100$c2Fs$TXYwD75fv6gZxZH92y2jwST5izlOjVSxqtKH1bALLeQ";
    assert!(StoredPassword::parse(short_salt).is_err());
}

#[test]
fn bcrypt_refuses_what_it_would_truncate_or_confuse() {
    let of_72 = "$2b$04$mJ8EJQaQUITzOZK.dI9hzubZNzx86RmHmrNt4JTfrcLU4/jVF1kTS";
    assert!(verifies(of_72, &"x".repeat(72)));
    assert!(!verifies(of_72, &"x".repeat(73)));
    // bcrypt repeats `abc\0` until 72 bytes are full, so both keys would be the same.
    let of_abc = "$2b$04$NpuIoH459eWYO9wo9NCI9OVbeWxjk6TW0.lVcT25vhBNTHHwNe8B6";
    assert!(verifies(of_abc, "abc"));
    assert!(!verifies(of_abc, "abc\0abc"));
}

#[test]
fn new_hash_verifies_and_differs_every_time() {
    let password = Secret::new("hunter2");
    let (first, second) = (hash(&password).unwrap(), hash(&password).unwrap());
    assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    assert_ne!(first, second);
    assert!(verifies(&first, "hunter2") && !verifies(&first, "hunter3"));
    assert_eq!(hash(&Secret::new("")), Err(HashError::Empty));
}

#[test]
fn debug_never_shows_a_password() {
    let mut shown = format!("{:?}", StoredPassword::parse(HASHES[0]).unwrap());
    shown += &format!("{:?}", StoredPassword::clear("hunter2"));
    shown += &format!("{:?}", VerifiedKey::new("a", 1, "b", "hunter2"));
    assert!(!shown.contains("hunter2") && !shown.contains("c2Fs") && !shown.contains("Sh1L"));
}

fn source(number: u8) -> SourceKey {
    SourceKey::Address([10, 0, 0, number].into())
}

#[test]
fn sources_are_addresses_networks_servers_and_proxied_users() {
    let proxies = ["192.0.2.0/24".parse().unwrap()];
    let of = |ip: &str, kind: ConnectionKind, user: &str| {
        let request = AuthRequest::for_tests(Credential::Certificate);
        let request = request.from_ip(ip.parse().unwrap()).over(kind);
        let server = request.server().id.to_string();
        (SourceKey::of(&request, user, &proxies), SourceKey::Server(server.into()))
    };
    let client = |ip| of(ip, ConnectionKind::Nats, "u").0;
    // A /64 network has 2^64 addresses and is one source.
    assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:ffff:ffff:ffff"));
    assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
    assert_eq!(client("::ffff:10.0.0.1"), client("10.0.0.1"));
    assert_ne!(client("10.0.0.1"), client("10.0.0.2"));
    // The user name counts only if many users share the address.
    assert_eq!(of("10.0.0.1", ConnectionKind::Nats, "other").0, client("10.0.0.1"));
    assert_ne!(of("192.0.2.1", ConnectionKind::Nats, "other").0, client("192.0.2.1"));
    let (source, server) = of("10.0.0.1", ConnectionKind::LeafNode, "u");
    assert_eq!(source, server);
}

fn in_a_minute() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[tokio::test]
async fn work_runs_and_returns_its_result() {
    let pool = PasswordPool::new(2);
    let results = (0..20).map(|number| pool.run(source(1), in_a_minute(), move |_| number));
    let results = futures_util::future::join_all(results).await;
    assert_eq!(results, (0..20).map(Ok).collect::<Vec<_>>());
}

#[tokio::test]
async fn panic_is_an_error_and_the_thread_continues() {
    let pool = PasswordPool::new(1);
    let result = pool.run(source(1), in_a_minute(), |_| -> bool { panic!("on purpose") }).await;
    assert_eq!(result, Err(PoolError::Panicked));
    assert_eq!(pool.run(source(1), in_a_minute(), |_| true).await, Ok(true));
}

/// Occupies the only thread of `pool` until the returned sender is dropped.
async fn occupy(pool: &Arc<PasswordPool>) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let pool = Arc::clone(pool);
    tokio::spawn(async move {
        let work = move |_: &mut Scratch| {
            begun.send(()).unwrap();
            released.recv().unwrap_err();
        };
        pool.run(source(9), in_a_minute(), work).await
    });
    has_begun.await.unwrap();
    release
}

async fn until_waiting(pool: &PasswordPool, number: usize) {
    while pool.waiting() != number {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn abandoned_work_is_never_started() {
    let pool = Arc::new(PasswordPool::new(1));
    let release = occupy(&pool).await;
    let begun = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let task = tokio::spawn({
        let (pool, begun) = (Arc::clone(&pool), Arc::clone(&begun));
        async move {
            let work =
                move |_: &mut Scratch| begun.store(true, std::sync::atomic::Ordering::SeqCst);
            pool.run(source(1), in_a_minute(), work).await
        }
    });
    until_waiting(&pool, 1).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(pool.waiting(), 0, "it is not in the queue either");
    drop(release);
    assert_eq!(pool.run(source(2), in_a_minute(), |_| 1).await, Ok(1));
    assert!(!begun.load(std::sync::atomic::Ordering::SeqCst));
}

#[tokio::test]
async fn work_past_its_deadline_is_refused_as_overload() {
    let pool = PasswordPool::new(1);
    let past = Instant::now() - Duration::from_millis(1);
    assert_eq!(pool.run(source(1), past, |_| ()).await, Err(PoolError::Overloaded(Overloaded)));
    let decline = Decline::from(PoolError::Overloaded(Overloaded));
    let Decline::Unavailable(error) = decline else { panic!("{decline:?}") };
    assert!(error.downcast_ref::<Overloaded>().is_some());
}

#[tokio::test]
async fn flood_is_refused_immediately_and_delays_no_other_source() {
    let pace = Duration::from_secs(1);
    let pool = Arc::new(PasswordPool::new(1).at_pace(pace));
    let release = occupy(&pool).await;
    let deadline = Instant::now() + pace * 20;
    let mut waiting = Vec::new();
    let mut refused = 0;
    for _ in 0..40 {
        let mut work = Box::pin(pool.run(source(1), deadline, |_| ()));
        match futures_util::poll!(&mut work) {
            std::task::Poll::Ready(result) => {
                assert_eq!(result, Err(PoolError::Overloaded(Overloaded)));
                refused += 1;
            }
            std::task::Poll::Pending => waiting.push(work),
        }
    }
    // With its reserve a hash counts as 1.25 seconds. The fifteenth job in the queue, with 14 before
    // it and one running, would end after 20 seconds and leave no time for its answer.
    assert_eq!((waiting.len(), refused), (14, 26));
    let mut other = Box::pin(pool.run(source(2), deadline, |_| ()));
    assert!(futures_util::poll!(&mut other).is_pending());
    drop(release);
}

#[tokio::test]
async fn work_that_becomes_too_late_is_refused_unstarted() {
    let pool = Arc::new(PasswordPool::new(1).at_pace(Duration::from_millis(1)));
    let release = occupy(&pool).await;
    let begun = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let work = || {
        let begun = Arc::clone(&begun);
        move |_: &mut Scratch| begun.fetch_add(1, std::sync::atomic::Ordering::SeqCst)
    };
    let mut early = Box::pin(pool.run(source(1), Instant::now() + Duration::from_secs(5), work()));
    let mut late = Box::pin(pool.run(source(1), in_a_minute(), work()));
    assert!(futures_util::poll!(&mut early).is_pending());
    assert!(futures_util::poll!(&mut late).is_pending());
    // In the meantime a hash has taken ten seconds.
    pool.set_pace(Duration::from_secs(10));
    drop(release);
    assert_eq!(early.await, Err(PoolError::Overloaded(Overloaded)));
    assert_eq!(late.await, Ok(0), "the first to start");
}

#[tokio::test]
async fn nothing_is_refused_while_a_thread_is_free() {
    let pool = PasswordPool::new(1).at_pace(Duration::from_secs(3600));
    let deadline = Instant::now() + Duration::from_secs(60);
    assert_eq!(pool.run(source(1), deadline, |_| 1).await, Ok(1));
}

#[tokio::test]
async fn only_hashing_changes_the_pace() {
    let pool = PasswordPool::new(1).at_pace(Duration::from_secs(1));
    for _ in 0..10 {
        // As if another login had verified the same password before.
        assert_eq!(pool.run(source(1), in_a_minute(), |_| true).await, Ok(true));
    }
    assert_eq!(pool.pace(), Duration::from_secs(1));
    let stored = StoredPassword::parse(HASHES[0]).unwrap();
    let work = move |scratch: &mut Scratch| stored.verify(&Secret::new(RIGHT), scratch);
    assert_eq!(pool.run(source(1), in_a_minute(), work).await, Ok(true));
    // The thread measures after it has answered, so wait for a second answer.
    assert_eq!(pool.run(source(1), in_a_minute(), |_| true).await, Ok(true));
    assert!(pool.pace() < Duration::from_secs(1));
}

#[tokio::test]
async fn source_that_fills_the_queue_makes_room() {
    let pool = Arc::new(PasswordPool::new(1).at_pace(Duration::from_nanos(1)));
    let release = occupy(&pool).await;
    let mut flood: Vec<_> =
        (0..5000).map(|_| Box::pin(pool.run(source(1), in_a_minute(), |_| ()))).collect();
    let mut refused = 0;
    for work in &mut flood {
        refused += usize::from(futures_util::poll!(work).is_ready());
    }
    assert_eq!((pool.waiting(), refused), (4096, 5000 - 4096));
    let mut honest = Box::pin(pool.run(source(2), in_a_minute(), |_| 2));
    assert!(futures_util::poll!(&mut honest).is_pending());
    assert_eq!(pool.waiting(), 4096, "it replaced the last job of the flood");
    assert_eq!(
        futures_util::poll!(&mut flood[4095]),
        std::task::Poll::Ready(Err(Overloaded.into()))
    );
    drop(release);
    assert_eq!(honest.await, Ok(2));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(
        text in "[$]?(argon2id|scrypt|pbkdf2-sha256|2b|[{]X[}])?([$](v=19|m=8,t=1,p=1|ln=1,r=8,p=1|04|9|[A-Za-z0-9+/.]{0,60}|.{0,9})){0,5}"
    ) {
        if let Ok(stored) = StoredPassword::parse(&text) {
            let bounded = stored.cost().is_none_or(|cost| cost.within_bounds().is_ok());
            proptest::prop_assert!(bounded);
        }
    }
}
