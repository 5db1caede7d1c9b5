//! Which processor cores the service has for itself, and which are left to load and server.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::Failure;

/// The cores of this process, told apart. Written as `taskset` (util-linux) reads them.
#[derive(Debug, Clone)]
pub(super) struct Cores {
    /// For the service, and for the ceiling that it is compared with.
    pub(super) service: String,
    others: String,
}

impl Cores {
    /// The last core is the service's.
    ///
    /// # Errors
    /// If there is one core only.
    pub(super) fn apart() -> Result<Self, Failure> {
        let status = fs::read_to_string("/proc/self/status")?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let mut cores = cores(list.unwrap_or_default().trim());
        let service = cores.pop().ok_or("it is not known which cores there are")?.to_string();
        if cores.is_empty() {
            return Err("--apart needs two cores".into());
        }
        let others = cores.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        Ok(Self { service, others })
    }

    /// Leaves the service's core; what is started from now on does so too.
    pub(super) fn leave_it_alone(&self) -> Result<(), Failure> {
        pin(&["-a"], &self.others, std::process::id())
    }

    /// Takes this one thread to the service's core.
    pub(super) fn take_this_thread(&self) -> Result<(), Failure> {
        let thread = fs::read_link("/proc/thread-self")?;
        let thread = thread.file_name().and_then(|name| name.to_str()?.parse().ok());
        pin(&[], &self.service, thread.ok_or("this thread has no number")?)
    }

    /// A program on the service's core.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.service]).arg(program);
        command
    }
}

fn pin(options: &[&str], cores: &str, id: u32) -> Result<(), Failure> {
    let mut command = Command::new("taskset");
    command.args(options).args(["-p", "-c", cores, &id.to_string()]);
    let status = command.stdout(Stdio::null()).status();
    match status.map_err(|error| format!("`taskset` (of util-linux): {error}"))?.success() {
        true => Ok(()),
        false => Err("`taskset` failed".into()),
    }
}

/// `0,2-4` is 0, 2, 3, 4.
fn cores(list: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn core_lists_use_the_kernel_format() {
        assert_eq!(super::cores("0,2-4,7"), [0, 2, 3, 4, 7]);
        assert_eq!(super::cores("0"), [0]);
        assert!(super::cores("").is_empty());
    }
}
