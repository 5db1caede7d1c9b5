//! Second factors: a code in addition to the password of an entry, or a certificate in addition to any
//! credential.
//!
//! The client sends password and code as one text. The password is verified first, always with one hash;
//! only then does the code count. To the client, a wrong password and a wrong code look the same.

mod certificate;
mod entry;
mod state;
mod totp;

use std::sync::Arc;

use callgate::{
    authn::Decline, policy::encode, record::Reason, request::AuthRequest, secret::Secret,
};
use tokio::time::Instant;

pub use certificate::RequireCertificate;
pub(crate) use entry::{TOTP, read_totp};
use state::{CodeError, CodeState};
pub(crate) use totp::Totp;

use crate::{
    kind::{BuildContext, Bus, BusError, Observer, SecondFactorResult, SecondFactorSettings},
    passwords::digest,
};

/// Verifies the codes of one authenticator's users.
pub(crate) struct SecondFactor {
    authenticator: Arc<str>,
    settings: SecondFactorSettings,
    state: Arc<CodeState>,
    bus: Option<Arc<dyn Bus>>,
    observer: Arc<dyn Observer>,
}

impl SecondFactor {
    /// The second factor of this authenticator. What it knows of used codes survives a reload.
    pub(crate) fn new(context: &BuildContext) -> Self {
        Self {
            authenticator: Arc::clone(&context.name),
            settings: context.second_factor.clone(),
            state: context.services.shared.obtain(&context.name, CodeState::default),
            bus: context.services.bus.clone(),
            observer: Arc::clone(&context.services.observer),
        }
    }

    /// Divides what the client sent into password and code; `None` if it contains no code.
    pub(crate) fn split<'p>(&self, totp: &Totp, sent: &'p str) -> Option<(&'p str, &'p str)> {
        let separator = self.settings.separator.as_str();
        let (password, code) = match (self.settings.before, separator.is_empty()) {
            (false, true) => sent.split_at_checked(sent.len().checked_sub(totp.digits())?)?,
            (true, true) => {
                let (code, password) = sent.split_at_checked(totp.digits())?;
                (password, code)
            }
            (false, false) => sent.rsplit_once(separator)?,
            (true, false) => {
                let (code, password) = sent.split_once(separator)?;
                (password, code)
            }
        };
        let is_code = code.len() == totp.digits() && code.bytes().all(|byte| byte.is_ascii_digit());
        (is_code && !password.is_empty()).then_some((password, code))
    }

    /// Decides about a user whose password proved correct. `code` is what [`SecondFactor::split`] found in
    /// `sent`, which is password and code as the client sent them.
    ///
    /// # Errors
    /// Rejected without a code that counts; unavailable if the replicas cannot be asked whether it was
    /// used.
    pub(crate) async fn verify(
        &self,
        request: &AuthRequest,
        user: &str,
        totp: Option<&Totp>,
        code: Option<&str>,
        sent: &Secret,
    ) -> Result<(), Decline> {
        let Some(totp) = totp else {
            return match self.settings.required {
                true => Err(self.bad(
                    SecondFactorResult::Missing,
                    "the entry has no `totp`, which `second_factor.required` demands",
                )),
                false => Ok(()),
            };
        };
        let Some(code) = code else {
            let text = "the password is correct, but no code was sent with it";
            return Err(self.bad(SecondFactorResult::Missing, text));
        };
        let now = Instant::now();
        let pair = digest(&[
            self.authenticator.as_bytes(),
            user.as_bytes(),
            request.client().host.as_bytes(),
            sent.expose().as_bytes(),
        ]);
        if self.state.remembers(user, &pair, now) {
            self.observer.second_factor(&self.authenticator, SecondFactorResult::Remembered);
            return Ok(());
        }
        self.state.check_attempts(user, now).map_err(|error| self.refused(error))?;
        let skew = self.settings.skew;
        let Some(period) = totp.matching_period(code, request.received(), skew) else {
            self.state.count_wrong(user, self.settings.attempts, now);
            return Err(self
                .bad(SecondFactorResult::Wrong, "the password is correct, but the code is wrong"));
        };
        // A code of the future is valid until its own period and `skew` more have passed.
        let periods = u32::try_from(2 * skew + 2).unwrap_or(u32::MAX);
        let valid_for = totp.period().saturating_mul(periods);
        self.state.use_period(user, period, valid_for, now).map_err(|error| self.refused(error))?;
        if let Some(bucket) = &self.settings.replay_bucket {
            self.use_in_bucket(request, bucket, user, period).await?;
        }
        if !self.settings.remember.is_zero() {
            self.state.remember(user, pair, now + self.settings.remember, now);
        }
        self.observer.second_factor(&self.authenticator, SecondFactorResult::Accepted);
        Ok(())
    }

    /// Records the period for all replicas, unless one of them has.
    async fn use_in_bucket(
        &self,
        request: &AuthRequest,
        bucket: &str,
        user: &str,
        period: u64,
    ) -> Result<(), Decline> {
        let key = format!("{}.{}", encode(&self.authenticator), encode(user));
        let raised = match &self.bus {
            Some(bus) => bus.raise(bucket, &key, period, request.deadline()).await,
            None => Err(BusError::NotConnected),
        };
        match raised {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.refused(CodeError::UsedAlready)),
            Err(error) => {
                self.observer.second_factor(&self.authenticator, SecondFactorResult::Unavailable);
                let text = format!("the bucket of used codes, `{bucket}`: {error}");
                Err(Decline::Unavailable(text.into()))
            }
        }
    }

    fn refused(&self, error: CodeError) -> Decline {
        match error {
            CodeError::UsedAlready => {
                self.bad(SecondFactorResult::Replayed, "the code was used already")
            }
            CodeError::TooManyWrong => self.bad(
                SecondFactorResult::Blocked,
                "too many wrong codes: codes of this user are refused for 5 minutes",
            ),
        }
    }

    fn bad(&self, result: SecondFactorResult, text: &str) -> Decline {
        self.observer.second_factor(&self.authenticator, result);
        Decline::rejected(Reason::BadSecondFactor, text)
    }
}

#[cfg(test)]
mod tests;
