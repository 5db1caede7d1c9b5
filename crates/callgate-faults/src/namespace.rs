//! A network namespace with two links to this machine, of which one can be cut.
//!
//! It needs the right to make namespaces, which root has outside of most containers.

use std::{
    ffi::OsString,
    fmt::Display,
    process::{Command, id},
    sync::atomic::{AtomicU32, Ordering},
};

/// A namespace; gone with this value.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    number: u32,
}

/// One of the two links.
pub type Link = u32;

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Namespace {
    /// The link that can be cut.
    pub const DATA: Link = 0;
    /// The link that stays.
    pub const EYES: Link = 1;

    /// Makes one.
    ///
    /// # Errors
    /// If this machine does not permit it: why.
    pub fn new() -> Result<Self, String> {
        let number = (id().wrapping_mul(16) + NEXT.fetch_add(1, Ordering::Relaxed)) % 8192;
        let this = Self { name: format!("callgate-{number}"), number };
        ip(&format!("netns add {}", this.name))?;
        for link in [Self::DATA, Self::EYES] {
            let (outer, inner, name) = (this.outer(link), this.inner(link), &this.name);
            let (here, there) = (this.address(link, 1), this.address(link, 2));
            ip(&format!("link add {outer} type veth peer name {inner} netns {name}"))?;
            ip(&format!("addr add {here}/30 dev {outer}"))?;
            ip(&format!("link set {outer} up"))?;
            ip(&format!("-n {name} addr add {there}/30 dev {inner}"))?;
            ip(&format!("-n {name} link set {inner} up"))?;
        }
        ip(&format!("-n {} link set lo up", this.name))?;
        Ok(this)
    }

    /// What a command is preceded by to run inside; it keeps its process id.
    pub fn command(&self) -> Vec<OsString> {
        ["ip", "netns", "exec", &self.name].map(OsString::from).to_vec()
    }

    /// `ADDRESS:PORT` of this machine, as seen from inside.
    pub fn outside(&self, link: Link, port: impl Display) -> String {
        format!("{}:{port}", self.address(link, 1))
    }

    /// `ADDRESS:PORT` of the inside, as seen from this machine.
    pub fn inside(&self, link: Link, port: u16) -> String {
        format!("{}:{port}", self.address(link, 2))
    }

    /// The first link silently drops everything in both directions from now on.
    ///
    /// # Panics
    /// If the link cannot be taken down.
    pub fn cut(&self) {
        ip(&format!("link set {} down", self.outer(Self::DATA))).expect("the link goes down");
    }

    /// Ends a [`Namespace::cut`].
    ///
    /// # Panics
    /// If the link cannot be taken up.
    pub fn mend(&self) {
        ip(&format!("link set {} up", self.outer(Self::DATA))).expect("the link comes up");
    }

    fn outer(&self, link: Link) -> String {
        format!("cg{}o{link}", self.number)
    }

    fn inner(&self, link: Link) -> String {
        format!("cg{}i{link}", self.number)
    }

    /// Four addresses in 10.192.0.0/13, which is rarely used.
    fn address(&self, link: Link, host: u32) -> String {
        let block = (self.number * 2 + link) * 4 + host;
        format!("10.{}.{}.{}", 192 + (block >> 16), (block >> 8) & 255, block & 255)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its links go with it.
        let _gone_already = ip(&format!("netns del {}", self.name));
        for link in [Self::DATA, Self::EYES] {
            let _gone_already = ip(&format!("link del {}", self.outer(link)));
        }
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("cannot run `ip`: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("`ip {arguments}` is not permitted here: {}", said.trim()))
        }
    }
}
