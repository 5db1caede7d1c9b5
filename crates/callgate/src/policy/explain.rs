//! Explains decisions: the steps of [`resolve`](super::resolve), and answers to "may it publish to
//! this subject?".

mod access;

use serde::Serialize;

pub use self::access::AccessVerdict;
use super::{
    Policy,
    grant::Grant,
    request::ResolveRequest,
    resolve::{
        resolve,
        trace::{Step, Trace},
    },
};
use crate::reason::Denial;

/// The steps of one decision, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Trace for Explanation {
    const ENABLED: bool = true;

    fn record(&mut self, step: impl FnOnce() -> Step) {
        self.steps.push(step());
    }
}

impl Policy {
    /// Decides with the same code as [`resolve`](Self::resolve), and returns the steps as well.
    pub fn explain(&self, request: &ResolveRequest<'_>) -> (Result<Grant, Denial>, Explanation) {
        let mut explanation = Explanation::default();
        let result = resolve(self, request, &mut explanation);
        (result, explanation)
    }
}
