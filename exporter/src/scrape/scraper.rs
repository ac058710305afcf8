//! The thread that owns the collectors and answers scrapes one after another.
//!
//! Requests for the same collectors that wait while a scrape runs share the next scrape: all of its values are read after
//! each of these requests arrived.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::oneshot;

use super::selection::Selection;
use crate::exposition::encoding::{Encoding, Packer};

/// Writes the text of one scrape of these collectors, and waits for this long for those that hang.
pub(crate) type Source = Box<dyn FnMut(&Selection, Duration, &mut Vec<u8>) + Send>;

/// A handle of the scrape thread.
#[derive(Debug, Clone)]
pub(crate) struct Scraper {
    asks: Sender<Ask>,
}

#[derive(Debug)]
struct Ask {
    selection: Selection,
    encoding: Encoding,
    patience: Duration,
    reply: oneshot::Sender<Bytes>,
}

impl Scraper {
    /// Starts the thread, which ends with the last `Scraper`.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(crate) fn start(source: Source) -> io::Result<Self> {
        let (asks, received) = channel();
        std::thread::Builder::new()
            .name("scrape".into())
            .spawn(move || serve(&received, source))?;
        Ok(Self { asks })
    }

    /// Returns the text of a scrape that begins after this call and waits for at most `patience` for collectors that hang;
    /// `None` if the thread has panicked.
    pub(crate) async fn scrape(
        &self,
        selection: Selection,
        encoding: Encoding,
        patience: Duration,
    ) -> Option<Bytes> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask {
            selection,
            encoding,
            patience,
            reply,
        };
        self.asks.send(ask).ok()?;
        answer.await.ok()
    }
}

fn serve(received: &Receiver<Ask>, mut source: Source) {
    let (mut text, mut packer) = (Vec::new(), Packer::default());
    let mut waiting: Vec<Ask> = Vec::new();
    loop {
        if waiting.is_empty() {
            match received.recv() {
                Ok(ask) => waiting.push(ask),
                Err(_) => return,
            }
        }
        waiting.extend(received.try_iter());
        waiting.retain(|ask| !ask.reply.is_closed());
        // The request that has waited longest decides what is scraped next.
        let Some(selection) = waiting.first().map(|ask| ask.selection.clone()) else {
            continue;
        };
        let share = |ask: &mut Ask| ask.selection == selection;
        let served: Vec<Ask> = waiting.extract_if(.., share).collect();
        let patience = served.iter().map(|ask| ask.patience).min();
        text.clear();
        source(&selection, patience.unwrap_or_default(), &mut text);
        reply(served, &text, &mut packer);
    }
}

fn reply(mut asks: Vec<Ask>, text: &[u8], packer: &mut Packer) {
    for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
        let mut asks = asks
            .extract_if(.., |ask| ask.encoding == encoding)
            .peekable();
        if asks.peek().is_none() {
            continue;
        }
        // Without a response the request fails, which is right if compression failed.
        let Some(body) = packer.pack(encoding, text).map(Bytes::copy_from_slice) else {
            continue;
        };
        for ask in asks {
            // A client that has disconnected needs no response.
            let _ = ask.reply.send(body.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Read as _;

    use super::*;

    /// A scraper whose scrapes are numbered, begin with a message and end with one.
    fn gated() -> (Scraper, Receiver<()>, Sender<()>) {
        let (enter, entered) = channel();
        let (go_on, gate) = channel();
        let mut count = 0;
        let scraper = Scraper::start(Box::new(move |selection, _, out| {
            enter.send(()).unwrap();
            gate.recv().unwrap();
            count += 1;
            let names = match selection {
                Selection::All => "all",
                Selection::Only(names) => names.first().unwrap(),
            };
            out.extend_from_slice(format!("{count} {names}").as_bytes());
        }));
        (scraper.unwrap(), entered, go_on)
    }

    fn ask(
        scraper: &Scraper,
        selection: Selection,
        encoding: Encoding,
    ) -> oneshot::Receiver<Bytes> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask {
            selection,
            encoding,
            patience: Duration::ZERO,
            reply,
        };
        scraper.asks.send(ask).unwrap();
        answer
    }

    #[test]
    fn waiting_requests_share_the_next_scrape_and_never_the_running_one() {
        let (scraper, entered, go_on) = gated();
        let first = ask(&scraper, Selection::All, Encoding::Identity);
        entered.recv().unwrap();
        let plain = ask(&scraper, Selection::All, Encoding::Identity);
        let gzip = ask(&scraper, Selection::All, Encoding::Gzip);
        let zstd = ask(&scraper, Selection::All, Encoding::Zstd);
        go_on.send(()).unwrap();
        go_on.send(()).unwrap();
        assert_eq!(first.blocking_recv().unwrap(), "1 all");
        assert_eq!(plain.blocking_recv().unwrap(), "2 all");
        let mut read = String::new();
        flate2::read::GzDecoder::new(&gzip.blocking_recv().unwrap()[..])
            .read_to_string(&mut read)
            .unwrap();
        assert_eq!(read, "2 all");
        let mut read = [0; 16];
        let length = zstd_safe::decompress(&mut read[..], &zstd.blocking_recv().unwrap()).unwrap();
        assert_eq!(&read[..length], b"2 all");
    }

    #[test]
    fn selections_are_scraped_apart_in_the_order_in_which_they_came() {
        let (scraper, entered, go_on) = gated();
        let only = |name| Selection::Only(BTreeSet::from([name]));
        let first = ask(&scraper, only("time"), Encoding::Identity);
        entered.recv().unwrap();
        let all = ask(&scraper, Selection::All, Encoding::Identity);
        let gone = ask(&scraper, only("gone"), Encoding::Identity);
        let cpu = ask(&scraper, only("cpu"), Encoding::Identity);
        let again = ask(&scraper, Selection::All, Encoding::Identity);
        drop(gone);
        for _ in 0..3 {
            go_on.send(()).unwrap();
        }
        let answers = [first, all, again, cpu].map(|answer| answer.blocking_recv().unwrap());
        assert_eq!(answers, ["1 time", "2 all", "2 all", "3 cpu"]);
    }
}
