use std::path::Path;

use clap::{Args, ValueEnum};
use dina_study::jobs::{Engine, LocalPool, Shard, SlurmArray};
use dina_study::{Error, Result};

/// Where independent pieces of work are done.
#[derive(Debug, Clone, Args)]
pub struct JobsFlags {
    /// Where the work is done
    #[arg(long, value_enum, default_value_t = EngineKind::Local, overrides_with = "engine")]
    pub engine: EngineKind,
    /// Pieces of work at a time on this machine [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// Tasks of a job array on a cluster
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub shards: u16,
    /// Further option of `sbatch`, as in --sbatch=--partition=long; may be repeated
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub sbatch: Vec<String>,
    /// Which part of the work, as in 2/4: what a task of a job array is given
    #[arg(long, value_name = "K/N", default_value_t = Shard::WHOLE)]
    pub shard: Shard,
}

/// Where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineKind {
    /// This machine
    Local,
    /// A cluster with SLURM; the output folder has to be one that all its machines see
    Slurm,
}

impl JobsFlags {
    /// The engine; on a cluster every task runs this very program with the same arguments, and its shard.
    ///
    /// # Errors
    /// When the program or its folder cannot be found again.
    pub fn engine(&self, out: &Path) -> Result<Engine> {
        let mut pool = LocalPool::default();
        if let Some(workers) = self.workers {
            pool.workers = workers.into();
        }
        if self.engine == EngineKind::Local || self.shard != Shard::WHOLE {
            return Ok(Engine::Local(pool));
        }
        let lost = |what: &str, why: std::io::Error| Error::Job(format!("{what}: {why}"));
        let program = std::env::current_exe().map_err(|e| lost("this program", e))?;
        std::fs::create_dir_all(out).map_err(|e| lost(&out.display().to_string(), e))?;
        let folder = out.canonicalize().map_err(|e| lost(&out.display().to_string(), e))?.join("slurm");
        let mut command = vec![program.into_os_string()];
        command.extend(std::env::args_os().skip(1));
        // The last one counts.
        command.extend(["--engine".into(), "local".into()]);
        let mut array = SlurmArray::new(command, self.shards.into(), folder);
        array.options.clone_from(&self.sbatch);
        Ok(Engine::Slurm(array))
    }
}
