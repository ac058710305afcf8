//! A file descriptor for log lines that never blocks on its reader.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Maximum bytes of a line, including the line break. A pipe that is ready accepts this many bytes at once (`PIPE_BUF` of
/// pipe(7)).
pub(super) const MAX_LINE_BYTES: usize = 4096;

/// The destination of lines. A pipe whose reader has stopped, a stopped terminal or a full socket loses lines instead of
/// blocking the thread that logs.
#[derive(Debug)]
pub(super) struct Output<F> {
    file: F,
    /// The last line was only written in part.
    torn: bool,
}

impl<F: AsFd> Output<F> {
    pub(super) fn new(file: F) -> Self {
        Self { file, torn: false }
    }

    /// Writes one line, which ends with a line break; false if it is lost.
    pub(super) fn write(&mut self, line: &[u8]) -> bool {
        if self.torn && !self.write_at_once(b"\n") {
            return false;
        }
        self.torn = false;
        self.write_at_once(line)
    }

    fn write_at_once(&mut self, bytes: &[u8]) -> bool {
        if !self.is_ready() {
            return false;
        }
        match rustix::io::write(&self.file, bytes) {
            Ok(count) => {
                self.torn = count < bytes.len();
                !self.torn
            }
            Err(_) => false,
        }
    }

    fn is_ready(&self) -> bool {
        let mut polled = [PollFd::new(&self.file, PollFlags::OUT)];
        let count = poll(&mut polled, Some(&Timespec::default()));
        let [polled] = &polled;
        count.is_ok() && polled.revents().contains(PollFlags::OUT)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, pipe};

    use super::*;

    #[test]
    fn a_pipe_without_a_reader_loses_lines_and_accepts_them_again_later() {
        let (mut reader, writer) = pipe().unwrap();
        let mut output = Output::new(writer);
        let line = [b"x".repeat(MAX_LINE_BYTES - 1), b"\n".to_vec()].concat();
        let written = (0..1000).take_while(|_| output.write(&line)).count();
        assert!((1..1000).contains(&written), "{written}");
        assert!(!output.write(b"lost\n"));
        let mut read = vec![0; written * MAX_LINE_BYTES];
        reader.read_exact(&mut read).unwrap();
        assert!(output.write(b"again\n"));
        drop(output);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "again\n");
    }

    #[test]
    fn a_reader_that_is_gone_costs_the_line_alone() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        assert!(!Output::new(writer).write(b"x\n"));
    }
}
