//! What the machine has: weights, memory, a GPU, room on the disk.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use super::Finding;

/// Bytes of a GiB.
const GIB: f64 = 1_073_741_824.0;
/// Free room below which logs, temporary files and downloads of servers soon fail.
const LITTLE_ROOM: u64 = 1 << 30;

/// A machine, as far as a worker cares.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The folder with weights, and the sizes of the `.gguf` files in it; or why it cannot be read.
    pub weights: (PathBuf, Result<Vec<u64>, ErrorKind>),
    /// Where the system says.
    pub memory: Option<Memory>,
    /// NVIDIA's, where its tool says.
    pub gpus: Vec<Gpu>,
    /// The disks that a worker writes on.
    pub disks: Vec<Disk>,
    /// Whether this build can run its own engines on NVIDIA GPUs.
    pub cuda: bool,
}

/// Main memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What programs can still get.
    pub available: u64,
}

/// A GPU.
#[derive(Debug, Clone)]
pub struct Gpu {
    /// What its maker calls it.
    pub name: String,
    /// All of its memory, in MiB.
    pub total_mib: u64,
    /// What is free of it, in MiB.
    pub free_mib: u64,
}

/// A disk.
#[derive(Debug, Clone)]
pub struct Disk {
    /// A folder on it.
    pub folder: PathBuf,
    /// Free room, in bytes.
    pub free: u64,
}

impl Machine {
    /// Looks at this machine.
    pub fn look(weights: &Path) -> Self {
        let temporary = std::env::temp_dir();
        let folders = [weights, temporary.as_path()];
        let disks = folders.into_iter().filter_map(|folder| {
            let found = rustix::fs::statvfs(folder).ok()?;
            Some(Disk { folder: folder.to_owned(), free: found.f_bavail * found.f_frsize })
        });
        Self {
            weights: (weights.to_owned(), sizes(weights).map_err(|error| error.kind())),
            memory: std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| memory(&text)),
            gpus: gpus(),
            disks: disks.collect(),
            cuda: cfg!(feature = "cuda"),
        }
    }

    /// What there is to say of it.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![self.of_weights()];
        findings.extend(self.memory.map(|memory| self.of_memory(memory)));
        findings.extend(self.of_gpus());
        for Disk { folder, free } in &self.disks {
            let found = format!("{:.1} GiB are free where {} is", *free as f64 / GIB, folder.display());
            findings.push(match *free < LITTLE_ROOM {
                true => Finding::trouble("disk", found).advise("Make room: at least 1 GiB."),
                false => Finding::fine("disk", found),
            });
        }
        findings
    }

    fn of_weights(&self) -> Finding {
        let (folder, found) = (self.weights.0.display(), &self.weights.1);
        match found {
            Ok(sizes) if sizes.is_empty() => Finding::note(
                "weights",
                format!("{folder} has no .gguf file: no language model runs in this process"),
            ),
            Ok(sizes) => {
                let gib = sizes.iter().sum::<u64>() as f64 / GIB;
                Finding::fine("weights", format!("{folder} has {} .gguf files, {gib:.1} GiB", sizes.len()))
            }
            Err(ErrorKind::NotFound) => Finding::note(
                "weights",
                format!("{folder} is not there: no language model runs in this process"),
            )
            .advise(
                "Set `weights`, RIFF_WEIGHTS or --weights to the folder that has them, if there are any.",
            ),
            Err(kind) => Finding::trouble("weights", format!("{folder} cannot be read: {kind}"))
                .advise("Let the user that the worker runs as read it."),
        }
    }

    fn of_memory(&self, memory: Memory) -> Finding {
        let gib = |bytes: u64| bytes as f64 / GIB;
        let found = format!("{:.1} of {:.1} GiB are available", gib(memory.available), gib(memory.total));
        let largest = self.weights.1.iter().flatten().copied().max().unwrap_or(0);
        match largest > memory.available && self.gpus.is_empty() {
            true => Finding::trouble(
                "memory",
                format!("{found}, and the largest weights take {:.1}", gib(largest)),
            )
            .advise("Stop what else runs here, or use smaller weights."),
            false => Finding::fine("memory", found),
        }
    }

    fn of_gpus(&self) -> Vec<Finding> {
        if self.gpus.is_empty() {
            return vec![Finding::fine(
                "GPU",
                "none found by nvidia-smi: engines in this process use the processor",
            )];
        }
        let of = |gpu: &Gpu| {
            let gib = |mib: u64| mib as f64 / 1_024.0;
            let (free, total) = (gib(gpu.free_mib), gib(gpu.total_mib));
            Finding::fine("GPU", format!("{}, {free:.1} of {total:.1} GiB are free", gpu.name))
        };
        let mut findings: Vec<Finding> = self.gpus.iter().map(of).collect();
        if !self.cuda {
            findings.push(
                Finding::note(
                    "GPU",
                    "this riff-worker was built without CUDA: its own engines use the processor",
                )
                .advise("Build it with `--features cuda`, or leave the GPU to the servers in [[engine]]."),
            );
        }
        findings
    }
}

/// Sizes of the `.gguf` files of a folder.
fn sizes(folder: &Path) -> std::io::Result<Vec<u64>> {
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) {
            sizes.push(std::fs::metadata(&path)?.len());
        }
    }
    Ok(sizes)
}

/// Reads `/proc/meminfo` (`man 5 proc_meminfo`), whose figures are in KiB.
fn memory(text: &str) -> Option<Memory> {
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib * 1_024)
    };
    Some(Memory { total: bytes("MemTotal")?, available: bytes("MemAvailable")? })
}

/// Asks NVIDIA's tool (<https://docs.nvidia.com/deploy/nvidia-smi/>).
fn gpus() -> Vec<Gpu> {
    let query = ["--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"];
    let Ok(output) = Command::new("nvidia-smi").args(query).output() else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout).lines().filter_map(gpu).collect()
}

fn gpu(line: &str) -> Option<Gpu> {
    let mut parts = line.rsplitn(3, ", ");
    let (free, total, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Gpu { name: name.to_owned(), total_mib: total.parse().ok()?, free_mib: free.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Report;

    fn told(machine: &Machine) -> String {
        Report { findings: machine.findings() }.to_string()
    }

    #[test]
    fn a_machine_is_described() {
        let machine = Machine {
            weights: ("/weights".into(), Ok(vec![93 << 20, 5 << 30])),
            memory: memory(
                "MemTotal:       25165824 kB\nMemFree:         1 kB\nMemAvailable:   12582912 kB\n",
            ),
            gpus: gpu("NVIDIA H100 80GB HBM3, 81559, 81072").into_iter().collect(),
            disks: vec![Disk { folder: "/weights".into(), free: 80 << 30 }],
            cuda: false,
        };
        insta::assert_snapshot!(told(&machine), @r"
        ok    weights  /weights has 2 .gguf files, 5.1 GiB
        ok    memory   12.0 of 24.0 GiB are available
        ok    GPU      NVIDIA H100 80GB HBM3, 79.2 of 79.6 GiB are free
        note  GPU      this riff-worker was built without CUDA: its own engines use the processor
                       Build it with `--features cuda`, or leave the GPU to the servers in [[engine]].
        ok    disk     80.0 GiB are free where /weights is
        All is well.
        ");
    }

    #[test]
    fn what_is_short_is_named() {
        let machine = Machine {
            weights: ("/weights".into(), Ok(vec![40 << 30])),
            memory: Some(Memory { total: 16 << 30, available: 3 << 30 }),
            gpus: Vec::new(),
            disks: vec![Disk { folder: "/tmp".into(), free: 100 << 20 }],
            cuda: true,
        };
        insta::assert_snapshot!(told(&machine), @r"
        ok    weights  /weights has 1 .gguf files, 40.0 GiB
        BAD   memory   3.0 of 16.0 GiB are available, and the largest weights take 40.0
                       Stop what else runs here, or use smaller weights.
        ok    GPU      none found by nvidia-smi: engines in this process use the processor
        BAD   disk     0.1 GiB are free where /tmp is
                       Make room: at least 1 GiB.
        2 things are wrong.
        ");
        let missing = Machine { weights: ("/w".into(), Err(ErrorKind::NotFound)), ..machine.clone() };
        let barred = Machine { weights: ("/w".into(), Err(ErrorKind::PermissionDenied)), ..machine };
        insta::assert_snapshot!(missing.of_weights().found, @"/w is not there: no language model runs in this process");
        insta::assert_snapshot!(barred.of_weights().found, @"/w cannot be read: permission denied");
    }
}
