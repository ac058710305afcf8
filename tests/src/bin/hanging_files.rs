//! A file system that hangs on demand: `hanging_files MOUNT-POINT CONTROL-FILE`. What the control file names hangs until
//! it does not name it any more: `statfs`, `readdir`, `read`. With `gone` in it, zone 1 is listed and not there.
//!
//! It is a program and no part of the tests, so that it can be mounted in a mount namespace of its own: in that of the
//! machine every other exporter would hang in it as well.

use std::{
    ffi::OsStr,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen,
    ReplyStatfs, Request, SessionACL,
};

/// The kernel is to ask every time.
const NEVER_CACHED: Duration = Duration::ZERO;

/// Number, number of the folder, name and, of a file, content.
type Node = (u64, u64, &'static str, Option<&'static str>);

const GONE_FROM: u64 = 13;
const NODES: [Node; 10] = [
    (1, 0, "", None),
    (
        2,
        1,
        "hanging.prom",
        Some("# TYPE from_a_file gauge\nfrom_a_file 7\n"),
    ),
    (3, 1, "class", None),
    (4, 3, "thermal", None),
    (10, 4, "thermal_zone0", None),
    (11, 10, "type", Some("steady\n")),
    (12, 10, "temp", Some("41000\n")),
    (GONE_FROM, 4, "thermal_zone1", None),
    (GONE_FROM + 1, GONE_FROM, "type", Some("fleeting\n")),
    (GONE_FROM + 2, GONE_FROM, "temp", Some("42000\n")),
];

/// An answer that is held back, and the word that holds it.
type Held = (&'static str, Box<dyn FnOnce() + Send>);

struct Hanging {
    control: PathBuf,
    held: Arc<Mutex<Vec<Held>>>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let mount_point = arguments.next().context("no mount point")?;
    let control = arguments.next().context("no control file")?;
    let held = Arc::new(Mutex::new(Vec::new()));
    let hanging = Hanging {
        control: control.clone(),
        held: held.clone(),
    };
    std::thread::spawn(move || {
        loop {
            release(&control, &held);
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let mut config = Config::default();
    config.mount_options = vec![MountOption::RO, MountOption::FSName("hanging".into())];
    config.acl = SessionACL::All;
    fuser::mount(hanging, &mount_point, &config)?;
    Ok(())
}

/// Gives every answer that nothing holds any more.
fn release(control: &PathBuf, held: &Mutex<Vec<Held>>) {
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    for (word, answer) in held.extract_if(.., |(word, _)| !says(control, word)) {
        let _: &str = word;
        answer();
    }
}

fn says(control: &PathBuf, word: &str) -> bool {
    let text = fs::read_to_string(control).unwrap_or_default();
    text.split_whitespace().any(|said| said == word)
}

impl Hanging {
    fn answer(&self, word: &'static str, answer: impl FnOnce() + Send + 'static) {
        if !says(&self.control, word) {
            return answer();
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.push((word, Box::new(answer)));
    }

    /// The node, unless it has gone.
    fn find(&self, wanted: impl Fn(&Node) -> bool) -> Option<Node> {
        let node = NODES.into_iter().find(wanted)?;
        (node.0 < GONE_FROM || !says(&self.control, "gone")).then_some(node)
    }
}

fn attributes((number, _, _, content): Node) -> FileAttr {
    let (kind, perm) = match content {
        None => (FileType::Directory, 0o755),
        Some(_) => (FileType::RegularFile, 0o444),
    };
    FileAttr {
        ino: INodeNo(number),
        size: content.map_or(0, str::len) as u64,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        flags: 0,
        blksize: 512,
    }
}

impl Filesystem for Hanging {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(|node| node.1 == parent.0 && name == node.2) {
            Some(node) => reply.entry(&NEVER_CACHED, &attributes(node), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.find(|node| node.0 == inode.0) {
            Some(node) => reply.attr(&NEVER_CACHED, &attributes(node)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        _: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let content = self
            .find(|node| node.0 == inode.0)
            .and_then(|node| node.3?.as_bytes().get(usize::try_from(offset).ok()?..));
        match content {
            Some(content) => self.answer("read", move || reply.data(content)),
            None => reply.error(Errno::ENODEV),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.answer("readdir", move || {
            let inside = NODES.into_iter().filter(|node| node.1 == inode.0);
            for (index, node) in (1..).zip(inside).skip_while(|(index, _)| *index <= offset) {
                if reply.add(INodeNo(node.0), index, attributes(node).kind, node.2) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.answer("statfs", move || {
            reply.statfs(1000, 500, 400, 100, 50, 4096, 255, 4096);
        });
    }
}
