//! What an object is compressed with, by its first bytes, and its text as a stream that ends at a cap. Never by the
//! key's suffix: in a multipart upload of Fluent Bit that says nothing.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

/// The largest window that a zstd frame may ask for: 32 MiB, more than any level without `--long` uses.
const ZSTD_WINDOW_LOG: u32 = 25;
/// Below this a ratio says nothing.
const FREE_BYTES: u64 = 16 << 20;
const BUFFER: usize = 64 << 10;

/// How an object is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Not at all.
    Plain,
    /// One or more gzip members.
    Gzip,
    /// One or more zstd frames.
    Zstd,
    /// A format that Fluent Bit can write and that we do not read, by name.
    Unsupported(&'static str),
}

/// By the first bytes of an object; six are enough.
pub(crate) fn packing(head: &[u8]) -> Packing {
    match head {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
        // A skippable frame, with which some writers begin.
        [low, 0x2a, 0x4d, 0x18, ..] if low & 0xf0 == 0x50 => Packing::Zstd,
        [0xff, 0x06, 0x00, 0x00, b's', b'N', ..] => Packing::Unsupported("snappy"),
        [b'P', b'A', b'R', b'1', ..] => Packing::Unsupported("parquet"),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Packing::Unsupported("arrow"),
        _ => Packing::Plain,
    }
}

/// The text of `object`: unpacked, all members and frames after each other, at most `cap` bytes of it and at most
/// `ratio` times as many as were read (from 16 MiB on). An end in the middle of a member is
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), a text past the caps [`FileTooLarge`](io::ErrorKind::FileTooLarge),
/// packing that is wrong [`InvalidData`](io::ErrorKind::InvalidData), an unsupported one
/// [`Unsupported`](io::ErrorKind::Unsupported); what came before can be used.
pub(crate) fn text_of<'a>(mut object: impl Read + 'a, cap: u64, ratio: u64) -> io::Result<Capped<'a>> {
    let mut head = [0; 6];
    let filled = read_head(&mut object, &mut head)?;
    let packing = packing(head.get(..filled).unwrap_or_default());
    let packed = Rc::new(Cell::new(0));
    let object = Cursor::new(head).take(filled as u64).chain(object);
    let object = BufReader::with_capacity(BUFFER, Counted { inner: object, bytes: Rc::clone(&packed) });
    let text: Box<dyn BufRead + 'a> = match packing {
        Packing::Plain => Box::new(object),
        Packing::Gzip => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(object))),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(object)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(BufReader::with_capacity(BUFFER, decoder))
        }
        Packing::Unsupported(name) => return Err(io::Error::new(io::ErrorKind::Unsupported, name)),
    };
    Ok(Capped { text, packed, given: 0, cap, ratio })
}

fn read_head(object: &mut impl Read, head: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match object.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Counts what was read of the object.
struct Counted<R> {
    inner: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get().saturating_add(n as u64));
        Ok(n)
    }
}

/// The text, up to its caps.
pub(crate) struct Capped<'a> {
    text: Box<dyn BufRead + 'a>,
    packed: Rc<Cell<u64>>,
    given: u64,
    cap: u64,
    ratio: u64,
}

impl Capped<'_> {
    fn check(&self) -> io::Result<()> {
        let by_ratio = self.packed.get().saturating_mul(self.ratio).max(FREE_BYTES);
        if self.given > self.cap.min(by_ratio) {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the text is larger than its caps"));
        }
        Ok(())
    }
}

impl Read for Capped<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Capped<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check()?;
        self.text.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.given = self.given.saturating_add(amount as u64);
        self.text.consume(amount);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    pub(crate) fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 3).unwrap()
    }

    /// The text, and how it ended.
    fn read(object: &[u8], cap: u64, ratio: u64) -> (Vec<u8>, Option<io::ErrorKind>) {
        let mut text = Vec::new();
        let end = text_of(object, cap, ratio).and_then(|mut t| t.read_to_end(&mut text));
        (text, end.err().map(|e| e.kind()))
    }

    #[test]
    fn members_and_frames_are_one_text_whatever_they_are_packed_with() {
        let (a, b) = (b"one\n".as_slice(), b"two\n".as_slice());
        for object in [[a, b].concat(), [gzip(a), gzip(b)].concat(), [zstd(a), zstd(b)].concat()] {
            assert_eq!(read(&object, 100, 10), (b"one\ntwo\n".to_vec(), None));
        }
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9], zstd(a).as_slice()].concat();
        assert_eq!(read(&skippable, 100, 10), (a.to_vec(), None));
        assert_eq!(read(b"", 100, 10), (vec![], None));
        assert_eq!(read(b"x", 100, 10), (b"x".to_vec(), None));
        assert_eq!(read(b"PAR1....", 100, 10), (vec![], Some(io::ErrorKind::Unsupported)));
    }

    #[test]
    fn what_came_before_a_cut_is_given() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for object in [gzip(&text), zstd(&text)] {
            let (got, end) = read(&object[..object.len() / 2], u64::MAX, 1000);
            assert_eq!(end, Some(io::ErrorKind::UnexpectedEof));
            assert!(got.len() > 100_000 && text.starts_with(&got), "{} bytes of {}", got.len(), text.len());
        }
    }

    #[test]
    fn a_bomb_ends_at_the_caps() {
        let zeros = vec![0; 64 << 20];
        for object in [gzip(&zeros), zstd(&zeros)] {
            let (got, end) = read(&object, u64::MAX, 20);
            assert_eq!(end, Some(io::ErrorKind::FileTooLarge));
            assert!(got.len() as u64 <= FREE_BYTES + 2 * BUFFER as u64, "{}", got.len());
            assert_eq!(read(&object, 1000, u64::MAX).1, Some(io::ErrorKind::FileTooLarge));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn damage_is_an_error_or_a_text(text in proptest::collection::vec(any::<u8>(), 0..400), at: usize, byte: u8, cut: usize) {
            for mut object in [gzip(&text), zstd(&text)] {
                let length = object.len();
                object[at % length] = byte;
                object.truncate(cut % (length + 1));
                let _ = read(&object, 1 << 20, 100);
            }
        }
    }
}
