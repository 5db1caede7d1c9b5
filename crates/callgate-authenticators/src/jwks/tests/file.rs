//! Key sets in files.

use super::*;

/// A file that is looked at every second.
#[derive(Debug)]
struct Watched(Arc<Script>);

impl KeySource for Watched {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, BoxSourceError>> {
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
async fn of_a_file_the_first_reading_counts_and_every_change() {
    let (a, b) = (key("a"), key("b"));
    let script = Script::of(&[Ok(key_set(&[&a]))]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let observer = Arc::clone(&told);
    let observer = Arc::new(move |ok| observer.lock().unwrap().push(ok));
    let source = Arc::new(Watched(Arc::clone(&script)));
    let store = KeyStore::new(source, &Algorithm::ALL, Timing::default(), observer, true);
    // It was read when the configuration was, and so it is no news when it is looked at first.
    store.preload(key_set(&[&a]).as_bytes()).unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(*told.lock().unwrap(), [true]);
    script.then(Ok(key_set(&[&a, &b])));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(*told.lock().unwrap(), [true, true]);
    script.then(Err("no such file"));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(*told.lock().unwrap(), [true, true, false]);
    // A reload reads it, too.
    script.then(Ok(key_set(&[&b])));
    store.preload(key_set(&[&b]).as_bytes()).unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(*told.lock().unwrap(), [true, true, false, true]);
}

#[tokio::test]
async fn a_file_is_read_again_when_it_is_replaced() {
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
