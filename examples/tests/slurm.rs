//! The sweep engine on a real SLURM of one machine, started from the distribution's packages.

// Helpers of a test fail the test; the lint knows test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dina_core::ContentHash;
use dina_study::Silent;
use dina_study::jobs::{Engine, Shard, SlurmArray, Store, Work};

/// A cluster of one machine, which ends with the test.
struct Cluster {
    folder: tempfile::TempDir,
}

impl Cluster {
    /// Starts it; `None`, with a printed reason, where that is not possible.
    fn start() -> Option<Self> {
        for program in ["munged", "slurmctld", "slurmd", "sbatch", "squeue"] {
            let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
            if !found.is_ok_and(|found| found.status.success()) {
                println!("skipped: {program} is not installed (packages slurm-wlm and munge)");
                return None;
            }
        }
        if output(Command::new("id").arg("-u")).trim() != "0" {
            println!("skipped: the daemons have to be started as root");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("dina-slurm").tempdir().unwrap();
        let cluster = Self { folder };
        cluster.authenticate();
        cluster.configure();
        cluster.launch("slurmctld", &["-f"]);
        cluster.launch("slurmd", &["-f"]);
        cluster.until("the node to be idle", || {
            let states = cluster.command("sinfo").args(["--noheader", "--format=%t"]).output().unwrap();
            String::from_utf8_lossy(&states.stdout).trim() == "idle"
        });
        Some(cluster)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn authenticate(&self) {
        let auth = self.path("munge");
        std::fs::create_dir(&auth).unwrap();
        std::fs::set_permissions(self.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let key = auth.join("key");
        std::fs::write(&key, [7_u8; 128]).unwrap();
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o400)).unwrap();
        let owner = if user_exists("munge") { "munge" } else { "root" };
        run(Command::new("chown").args(["-R", owner]).arg(&auth));
        std::fs::set_permissions(&auth, PermissionsExt::from_mode(0o711)).unwrap();
        let flags = format!(
            "munged --key-file={0}/key --socket={0}/socket --pid-file={0}/pid --log-file={0}/log --seed-file={0}/seed",
            auth.display()
        );
        run(Command::new("runuser").args(["-u", owner, "--", "sh", "-c", &flags]));
    }

    fn configure(&self) {
        let host = output(Command::new("hostname").arg("-s")).trim().to_owned();
        let port = free_port();
        let place = self.folder.path().display();
        for name in ["state", "spool", "logs"] {
            std::fs::create_dir(self.path(name)).unwrap();
        }
        let text = format!(
            "ClusterName=dina\nSlurmctldHost={host}(127.0.0.1)\nSlurmUser=root\nSlurmdUser=root\n\
             AuthType=auth/munge\nAuthInfo=socket={place}/munge/socket\nStateSaveLocation={place}/state\n\
             SlurmdSpoolDir={place}/spool\nSlurmctldPidFile={place}/slurmctld.pid\nSlurmdPidFile={place}/slurmd.pid\n\
             SlurmctldLogFile={place}/logs/slurmctld\nSlurmdLogFile={place}/logs/slurmd\n\
             SlurmctldPort={port}\nSlurmdPort={}\nProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nReturnToService=2\nMpiDefault=none\n\
             NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN\n\
             PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n",
            free_port(),
        );
        std::fs::write(self.path("slurm.conf"), text).unwrap();
    }

    fn launch(&self, program: &str, flags: &[&str]) {
        run(self.command(program).args(flags).arg(self.path("slurm.conf")));
    }

    /// A command that talks to this cluster.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.path("slurm.conf"));
        command
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let start = Instant::now();
        while !done() {
            let log = || std::fs::read_to_string(self.path("logs/slurmctld")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(60), "waited for {what}: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Cluster {
    /// By the process numbers that the daemons left.
    fn drop(&mut self) {
        for file in ["slurmd.pid", "slurmctld.pid", "munge/pid"] {
            if let Ok(pid) = std::fs::read_to_string(self.path(file)) {
                let _ = Command::new("kill").arg(pid.trim()).status();
            }
        }
    }
}

fn user_exists(name: &str) -> bool {
    Command::new("id").arg(name).output().is_ok_and(|found| found.status.success())
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn run(command: &mut Command) {
    let found = command.output().unwrap();
    assert!(found.status.success(), "{command:?}: {}", String::from_utf8_lossy(&found.stderr));
}

fn output(command: &mut Command) -> String {
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

fn cohort() -> PathBuf {
    let folder = std::env::current_exe().unwrap();
    folder.parent().and_then(Path::parent).unwrap().join("examples/cohort")
}

/// A number that a task on the cluster writes down.
struct Square(u64);

impl Work for Square {
    type Output = u64;

    fn key(&self) -> ContentHash {
        ContentHash::of([self.0.to_le_bytes().as_slice()])
    }

    fn name(&self) -> String {
        self.0.to_string()
    }

    fn memory(&self) -> u64 {
        0
    }

    fn run(&self) -> dina_study::Result<u64> {
        Ok(self.0 * self.0)
    }
}

/// Four mice here, and the same four on the cluster, where two of them are done before.
#[test]
fn a_cluster_and_this_machine_find_the_same() {
    let Some(cluster) = Cluster::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let study = |engine: &str, out: &Path| {
        let mut command = cluster.command(cohort());
        command.args(["--profile", "smoke", "--mice", "4", "--engine", engine, "--shards", "4", "--out"]);
        command.arg(out);
        let found = command.output().unwrap();
        let error = String::from_utf8_lossy(&found.stderr).into_owned();
        let log = std::fs::read_to_string(out.join("slurm/attempt-1/1.log")).unwrap_or_default();
        assert!(found.status.success(), "{engine}: {error} {log}");
        std::fs::read_to_string(out.join("cohort.json")).unwrap()
    };
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let found = study("local", &here);
    // Of these nothing is done again, and only two tasks are submitted.
    let cells = there.join("cells");
    std::fs::create_dir_all(&cells).unwrap();
    let done = std::fs::read_dir(here.join("cells")).unwrap().map(|entry| entry.unwrap().path());
    let of_two = |path: &PathBuf| {
        let cell = std::fs::read_to_string(path).unwrap();
        ["simulated-1", "simulated-2"].iter().any(|mouse| cell.contains(&format!("\"mouse\":\"{mouse}\"")))
    };
    let kept: Vec<PathBuf> = done.filter(of_two).collect();
    // The claims of each, and its part of the shared tower.
    assert_eq!(kept.len(), 4);
    for path in &kept {
        std::fs::copy(path, cells.join(path.file_name().unwrap())).unwrap();
    }
    assert_eq!(study("slurm", &there), found);
    assert_eq!(records(&there.join("slurm/attempt-1")), 2);

    // Tasks whose second shard is killed the first time: it alone is submitted again.
    let store = Store::new(folder.path().join("squares"));
    let work: Vec<Square> = (0..6).map(Square).collect();
    let prepared = Store::new(folder.path().join("prepared"));
    work.iter().for_each(|piece| prepared.put(piece.key(), &piece.run().unwrap()).unwrap());
    std::fs::create_dir_all(store.folder()).unwrap();
    let script = folder.path().join("task.sh");
    let mut text = format!("cd {}\ncase $2 in\n", folder.path().display());
    text += "2/3) if ! test -e died; then touch died; kill -9 $PPID; exit 1; fi;;\nesac\ncase $2 in\n";
    for shard in 0..3 {
        let files = Shard { index: shard, of: 3 }.of(&[0, 1, 2, 3, 4, 5]).into_iter();
        let copies = files.map(|k| format!("cp prepared/{}.json squares/", Square(k).key()));
        text += &format!("{}/3) {};;\n", shard + 1, copies.collect::<Vec<_>>().join("; "));
    }
    std::fs::write(&script, text + "esac\n").unwrap();
    // Later programs of this process find the cluster as those above do.
    // SAFETY: the only test of this file, and no other thread reads the environment.
    unsafe { std::env::set_var("SLURM_CONF", cluster.path("slurm.conf")) };
    let command = vec!["sh".into(), script.into_os_string()];
    let mut array = SlurmArray::new(command, 3, folder.path().join("slurm"));
    array.poll = Duration::from_millis(300);
    let found = Engine::Slurm(array).run(&work, Some(&store), &Silent).unwrap();
    assert_eq!(found, [0, 1, 4, 9, 16, 25]);
    assert_eq!(records(&folder.path().join("slurm/attempt-1")), 2);
    assert_eq!(records(&folder.path().join("slurm/attempt-2")), 1);
}

/// Exit records in a folder.
fn records(folder: &Path) -> usize {
    let records = std::fs::read_dir(folder).unwrap();
    records.filter(|r| r.as_ref().unwrap().path().extension().is_some_and(|e| e == "exit")).count()
}
