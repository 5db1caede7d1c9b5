//! What backends were asked and what was found, for `explain`.
//!
//! Authenticators add notes wherever they learn something; outside [`collect`] that costs one lookup of
//! a task-local value and nothing is built. Notes name what was found, without values: those are in the
//! identity.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

/// One line about a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The authenticator that the backend belongs to.
    pub authenticator: Arc<str>,
    /// What was queried or found.
    pub text: String,
}

#[derive(Debug, Default)]
struct Notes {
    offline: Cell<bool>,
    notes: RefCell<Vec<Note>>,
}

tokio::task_local! {
    static NOTES: Notes;
}

/// Runs `future` and collects the notes that it adds. With `offline`, backends are not queried: a note
/// says what would be asked, and the login is unavailable.
pub async fn collect<F: Future>(offline: bool, future: F) -> (F::Output, Vec<Note>) {
    let notes = Notes { offline: Cell::new(offline), ..Notes::default() };
    let collected = async {
        let output = future.await;
        (output, NOTES.with(|notes| notes.notes.take()))
    };
    NOTES.scope(notes, collected).await
}

/// Adds a note, if notes are collected.
pub(crate) fn add(authenticator: &Arc<str>, text: impl FnOnce() -> String) {
    let _ = NOTES.try_with(|notes| {
        let note = Note { authenticator: Arc::clone(authenticator), text: text() };
        notes.notes.borrow_mut().push(note);
    });
}

/// Whether backends must not be queried.
pub(crate) fn is_offline() -> bool {
    NOTES.try_with(|notes| notes.offline.get()).unwrap_or(false)
}
