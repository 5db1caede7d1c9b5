//! Functions of expressions that cel does not have, or that cost too much there.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, PoisonError, RwLock, Weak},
};

use cel::{
    Env, ExecutionError,
    common::{
        types::{CelBool, CelList, CelString},
        value::Val,
    },
};
use regex::{Regex, RegexBuilder};

/// The most pieces that `split` returns.
pub(crate) const MAX_PIECES: usize = 1000;
/// The longest text that `matches` searches.
const MAX_MATCHED_BYTES: usize = 1024;
/// The most memory that the search for one regular expression may cache.
const MAX_CACHE_BYTES: usize = 128 * 1024;
/// Sizes of compiled expressions, and what each byte of text costs with them.
const REGEX_SIZES: [(usize, u64); 3] = [(8 << 10, 1), (32 << 10, 4), (128 << 10, 16)];

/// Adds `matches` and `split`.
pub(super) fn add_to(env: &mut Env) {
    let added = cel::add_overload!(env, fn matches: (CelString, CelString) -> Result<CelBool>);
    debug_assert!(added.is_ok());
    let added =
        cel::add_member_overload!(env, fn matches: (CelString, CelString) -> Result<CelBool>);
    debug_assert!(added.is_ok());
    let added = cel::add_member_overload!(env, fn split: (CelString, CelString) -> Result<CelList>);
    debug_assert!(added.is_ok());
}

fn failed(function: &str, message: &str) -> ExecutionError {
    ExecutionError::function_error(function, message)
}

/// True if the regular expression, which was compiled at load, matches somewhere in the text.
fn matches(text: &CelString<'_>, regex: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    if text.inner().len() > MAX_MATCHED_BYTES {
        return Err(failed("matches", "the text is too long"));
    }
    match compiled(regex.inner()) {
        Some(regex) => Ok(CelBool::from(regex.regex.is_match(text.inner()))),
        None => Err(failed("matches", "the regular expression is not a literal")),
    }
}

/// The pieces of the text between the separators, as in cel-go's string extension.
fn split(
    text: &CelString<'_>,
    separator: &CelString<'_>,
) -> Result<CelList<'static>, ExecutionError> {
    if separator.inner().is_empty() {
        return Err(failed("split", "the separator is empty"));
    }
    let mut pieces: Vec<Box<dyn Val>> = Vec::new();
    for piece in text.inner().split(separator.inner()) {
        if pieces.len() == MAX_PIECES {
            return Err(failed("split", "too many pieces"));
        }
        pieces.push(Box::new(CelString::from(piece.to_owned())));
    }
    Ok(CelList::from(pieces))
}

/// The regular expressions of one expression. They stay compiled as long as this exists.
#[derive(Debug, Default)]
pub(crate) struct Regexes(Vec<Arc<Compiled>>);

#[derive(Debug)]
struct Compiled {
    regex: Regex,
    factor: u64,
}

/// The interpreter passes only texts to functions, so compiled expressions are found by their text.
static COMPILED: LazyLock<RwLock<HashMap<String, Weak<Compiled>>>> = LazyLock::new(RwLock::default);

fn compiled(text: &str) -> Option<Arc<Compiled>> {
    COMPILED.read().unwrap_or_else(PoisonError::into_inner).get(text)?.upgrade()
}

impl Regexes {
    /// Compiles a regular expression, or finds the compiled one.
    ///
    /// # Errors
    /// If it is malformed or too large.
    pub(super) fn add(&mut self, text: &str) -> Result<(), String> {
        let mut known = COMPILED.write().unwrap_or_else(PoisonError::into_inner);
        let regex = match known.get(text).and_then(Weak::upgrade) {
            Some(regex) => regex,
            None => {
                let regex = Arc::new(compile(text)?);
                known.retain(|_, regex| regex.strong_count() > 0);
                known.insert(text.to_owned(), Arc::downgrade(&regex));
                regex
            }
        };
        self.0.push(regex);
        Ok(())
    }

    /// What each byte of text costs with this regular expression.
    pub(super) fn factor(&self, text: &str) -> Option<u64> {
        self.0.iter().find(|one| one.regex.as_str() == text).map(|one| one.factor)
    }
}

fn compile(text: &str) -> Result<Compiled, String> {
    let shown = text.escape_debug();
    for (size, factor) in REGEX_SIZES {
        let built = RegexBuilder::new(text)
            .size_limit(size)
            .dfa_size_limit(MAX_CACHE_BYTES)
            .nest_limit(50)
            .build();
        match built {
            Ok(regex) => return Ok(Compiled { regex, factor }),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(_) => return Err(format!("`{shown}` is not a regular expression")),
        }
    }
    Err(format!(
        "the regular expression `{shown}` is too large: use smaller repetitions, or `[a-z]` instead \
         of `\\w`"
    ))
}
