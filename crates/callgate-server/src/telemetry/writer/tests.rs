use std::sync::{Arc, Mutex, mpsc};

use super::{
    buffer::{MAX_BUFFERED, RESERVED_FOR_ADMISSIONS},
    *,
};

/// An output controlled by the test.
struct Output {
    room: mpsc::Receiver<usize>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Output {
    /// Waits for the test to grant room; 0 is an error.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let room = self.room.recv().unwrap_or(usize::MAX).min(text.len());
        if room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.written.lock().unwrap().extend_from_slice(&text[..room]);
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn controlled_output() -> (Buffer, mpsc::Sender<usize>, Arc<Mutex<Vec<u8>>>) {
    let (grant, room) = mpsc::channel();
    let written = Arc::default();
    let buffer = Buffer::new(false);
    let mut output = Output { room, written: Arc::clone(&written) };
    let mut writer = Writer::new(buffer.clone());
    std::thread::spawn(move || writer.run(&mut output));
    (buffer, grant, written)
}

#[test]
fn hanging_output_blocks_no_caller_and_keeps_order() {
    let (buffer, room, written) = controlled_output();
    let before = LOST.get();
    let record = |number: usize| format!("{number:099}\n");
    for number in 0..30_000 {
        buffer.push(record(number).as_bytes());
    }
    buffer.flush(Duration::from_millis(10));
    drop(room);
    buffer.flush(Duration::from_secs(60));
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    let kept: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    // Records that the thread had taken did not count against the capacity.
    const SHARE: usize = (MAX_BUFFERED - RESERVED_FOR_ADMISSIONS) / 100;
    assert!((SHARE..=2 * SHARE).contains(&kept.len()), "{}", kept.len());
    assert!(kept.is_sorted_by(|one, next| one < next));
    assert_eq!(kept[..SHARE], (0..SHARE).collect::<Vec<_>>());
    assert!(LOST.get() - before >= 30_000 - kept.len() as u64);
}

#[test]
fn flood_of_refusals_displaces_no_admission() {
    let (buffer, room, written) = controlled_output();
    // While the thread waits for room, nothing leaves the buffer.
    buffer.push(b"first\n");
    for number in 0..100_000 {
        buffer.push(format!("refused {number:090}\n").as_bytes());
        if number % 100 == 0 {
            log_admission(|| buffer.push(format!("admitted {number:089}\n").as_bytes()));
        }
    }
    drop(room);
    buffer.flush(Duration::from_secs(60));
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("admitted")).count(), 1_000);
    assert!(text.lines().filter(|line| line.starts_with("refused")).count() < 100_000);
}

#[test]
fn lost_admissions_are_counted_apart() {
    let (buffer, room, _) = controlled_output();
    let before = LOST_ADMISSIONS.load(Ordering::Relaxed);
    for _ in 0..30_000 {
        log_admission(|| buffer.push(&[b'x'; 99]));
    }
    assert!(
        LOST_ADMISSIONS.load(Ordering::Relaxed) - before > 30_000 - 2 * MAX_BUFFERED as u64 / 99
    );
    drop(room);
}

#[test]
fn record_becomes_one_line_without_hidden_characters() {
    let line = |record: &str, colour| {
        String::from_utf8(one_line(record.as_bytes(), colour).into_owned()).unwrap()
    };
    assert_eq!(line("plain\ttext\n", false), "plain\ttext\n");
    assert_eq!(
        line("a\nb \u{1b}[2J\u{9b}m\u{202e}\u{200b} é\n", false),
        "a\\u000ab \\u001b[2J\\u009bm\\u202e\\u200b é\n"
    );
    assert_eq!(
        line("\u{1b}[32mINFO\u{1b}[0m \u{9b}m\n", true),
        "\u{1b}[32mINFO\u{1b}[0m \\u009bm\n"
    );
}

#[test]
fn torn_record_does_not_corrupt_the_next() {
    let (buffer, room, written) = controlled_output();
    buffer.push(b"first\n");
    for step in [2, 0] {
        room.send(step).unwrap();
    }
    buffer.flush(Duration::from_secs(60));
    drop(room);
    buffer.push(b"second\n");
    buffer.flush(Duration::from_secs(60));
    assert_eq!(*written.lock().unwrap(), b"fi\nsecond\n");
}
