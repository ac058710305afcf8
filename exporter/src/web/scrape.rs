//! One thread owns the collectors and answers scrapes, in turn.
//!
//! Requests that wait while a scrape runs share the next one: all of its values are read after each of them arrived.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use hyper::body::Bytes;
use tokio::sync::oneshot;

/// Go's default level is 6; a body of this kind grows by a tenth at 4 and takes half the time.
const GZIP_LEVEL: u32 = 4;

/// Writes one scrape's text, and waits so long for collectors that hang.
pub(super) type Source = Box<dyn FnMut(Duration, &mut Vec<u8>) + Send>;

/// The way to the scrape thread.
#[derive(Debug, Clone)]
pub(super) struct Scraper {
    asks: Sender<Ask>,
}

#[derive(Debug)]
struct Ask {
    gzip: bool,
    patience: Duration,
    reply: oneshot::Sender<Bytes>,
}

impl Scraper {
    /// Starts the thread, which ends with the last `Scraper`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(source: Source) -> io::Result<Self> {
        let (asks, received) = channel();
        std::thread::Builder::new()
            .name("scrape".into())
            .spawn(move || serve(&received, source))?;
        Ok(Self { asks })
    }

    /// The text of a scrape that begins after this call and waits no longer than `patience` for collectors that hang;
    /// `None` when the thread has died.
    pub(super) async fn scrape(&self, gzip: bool, patience: Duration) -> Option<Bytes> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask {
            gzip,
            patience,
            reply,
        };
        self.asks.send(ask).ok()?;
        answer.await.ok()
    }
}

fn serve(received: &Receiver<Ask>, mut source: Source) {
    let mut text = Vec::new();
    let mut gzip = Gzip::new();
    while let Ok(first) = received.recv() {
        let mut asks = vec![first];
        asks.extend(received.try_iter());
        asks.retain(|ask| !ask.reply.is_closed());
        let Some(patience) = asks.iter().map(|ask| ask.patience).min() else {
            continue;
        };
        text.clear();
        source(patience, &mut text);
        let (packed, plain): (Vec<Ask>, Vec<Ask>) = asks.into_iter().partition(|ask| ask.gzip);
        if !plain.is_empty() {
            reply(plain, &text);
        }
        if !packed.is_empty() {
            reply(packed, gzip.pack(&text));
        }
    }
}

fn reply(asks: Vec<Ask>, body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    for ask in asks {
        // Whoever has gone meanwhile needs no answer.
        let _ = ask.reply.send(body.clone());
    }
}

/// A gzip writer that keeps its memory.
struct Gzip {
    deflate: Compress,
    out: Vec<u8>,
}

impl Gzip {
    fn new() -> Self {
        Self {
            deflate: Compress::new(Compression::new(GZIP_LEVEL), false),
            out: Vec::new(),
        }
    }

    fn pack(&mut self, text: &[u8]) -> &[u8] {
        // Magic, deflate, no flags, no time, no hint, unknown system (RFC 1952).
        const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
        self.deflate.reset();
        self.out.clear();
        self.out.extend_from_slice(&HEADER);
        loop {
            self.out.reserve(text.len() / 4 + 1024);
            let consumed = usize::try_from(self.deflate.total_in()).unwrap_or(usize::MAX);
            let rest = text.get(consumed..).unwrap_or_default();
            match self
                .deflate
                .compress_vec(rest, &mut self.out, FlushCompress::Finish)
            {
                Ok(Status::Ok | Status::BufError) => {}
                // Deflate cannot fail on memory it was given; an error would end here like the end.
                Ok(Status::StreamEnd) | Err(_) => break,
            }
        }
        let mut crc = Crc::new();
        crc.update(text);
        self.out.extend_from_slice(&crc.sum().to_le_bytes());
        self.out.extend_from_slice(&crc.amount().to_le_bytes());
        &self.out
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn gzip_is_read_back_also_by_the_second_use() {
        let mut gzip = Gzip::new();
        let long: String = (0..20_000).map(|n| format!("line {}\n", n * n)).collect();
        for text in [long.as_str(), "", "short", long.as_str()] {
            let mut read = String::new();
            flate2::read::GzDecoder::new(gzip.pack(text.as_bytes()))
                .read_to_string(&mut read)
                .unwrap();
            assert_eq!(read, text);
        }
    }

    #[tokio::test]
    async fn who_waits_shares_the_next_scrape_and_never_the_running_one() {
        let (enter, entered) = channel::<()>();
        let (go_on, gate) = channel::<()>();
        let mut count = 0;
        let scraper = Scraper::start(Box::new(move |_, out| {
            enter.send(()).unwrap();
            gate.recv().unwrap();
            count += 1;
            out.extend_from_slice(format!("{count}").as_bytes());
        }))
        .unwrap();
        let first = tokio::spawn({
            let scraper = scraper.clone();
            async move { scraper.scrape(false, Duration::ZERO).await }
        });
        let _entered = tokio::task::spawn_blocking(move || entered.recv().map(|()| entered))
            .await
            .unwrap()
            .unwrap();
        let mut later = Vec::new();
        for gzip in [false, true] {
            let (reply, answer) = oneshot::channel();
            let patience = Duration::ZERO;
            let ask = Ask {
                gzip,
                patience,
                reply,
            };
            scraper.asks.send(ask).unwrap();
            later.push(answer);
        }
        go_on.send(()).unwrap();
        go_on.send(()).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), "1");
        let mut later = later.into_iter();
        assert_eq!(later.next().unwrap().await.unwrap(), "2");
        let mut read = String::new();
        let packed = later.next().unwrap().await.unwrap();
        flate2::read::GzDecoder::new(&packed[..])
            .read_to_string(&mut read)
            .unwrap();
        assert_eq!(read, "2");
    }
}
