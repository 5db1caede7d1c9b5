//! Key sets in files.

use super::*;

/// A file that is read every second.
#[derive(Debug)]
struct Watched(Arc<Script>);

impl KeySource for Watched {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, KeySourceError>> {
        self.0.fetch()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn fixed_period(&self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }
}

#[tokio::test(start_paused = true)]
async fn first_reading_and_every_change_of_a_file_are_reported() {
    let (a, b) = (key("a"), key("b"));
    let script = Script::of(&[Ok(key_set(&[&a]))]);
    let reported = Arc::new(Mutex::new(Vec::new()));
    let observer = Arc::clone(&reported);
    let observer = Arc::new(move |ok| observer.lock().unwrap().push(ok));
    let source = Arc::new(Watched(Arc::clone(&script)));
    let store = KeyStore::new(source, &Algorithm::ALL, Timing::default(), observer, true);
    // It was read with the configuration, so that the first background reading is not a change.
    store.preload(key_set(&[&a]).as_bytes()).unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(*reported.lock().unwrap(), [true]);
    script.then(Ok(key_set(&[&a, &b])));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(*reported.lock().unwrap(), [true, true]);
    script.then(Err("no such file"));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(*reported.lock().unwrap(), [true, true, false]);
    // A reload reads it too.
    script.then(Ok(key_set(&[&b])));
    store.preload(key_set(&[&b]).as_bytes()).unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(*reported.lock().unwrap(), [true, true, false, true]);
}

#[tokio::test]
async fn replaced_file_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let (a, b) = (key("a"), key("b"));
    std::fs::write(&path, key_set(&[&a])).unwrap();
    let source = FileSource::new(&path);
    assert_eq!(source.fetch().await.unwrap().body, key_set(&[&a]).into_bytes());
    let next = folder.path().join("next.json");
    std::fs::write(&next, key_set(&[&b])).unwrap();
    std::fs::rename(&next, &path).unwrap();
    assert_eq!(source.fetch().await.unwrap().body, key_set(&[&b]).into_bytes());
    std::fs::write(&path, vec![b' '; 2 * 1024 * 1024]).unwrap();
    assert!(source.fetch().await.unwrap_err().to_string().contains("longer than"));
    std::fs::remove_file(&path).unwrap();
    assert!(source.fetch().await.unwrap_err().to_string().contains("cannot read"));
}
