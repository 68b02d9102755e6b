//! A chunk of any bytes. The first byte is the encoding, the rest its data; and the same bytes as a frame of a segment
//! file, with the checksum made right.
#![no_main]

use forewarn_testkit::tsdb::crc32c;
use forewarn_tsdb::{AggregateSlot, Chunk, CounterFold, Encoding, Framed, Samples, parse_frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((encoding, data)) = bytes.split_first() else { return };
    let chunk = Chunk { encoding: Encoding::from_byte(*encoding), data: data.to_vec().into() };
    let mut samples = Samples::default();
    if chunk.decode(&mut samples).is_ok() {
        assert!(samples.len() <= data.len() * 8, "a sample without a bit");
    }
    if let Ok(aggregates) = chunk.aggregates() {
        let (mut fold, mut total) = (CounterFold::default(), Samples::default());
        for slot in AggregateSlot::ALL {
            let mut samples = Samples::default();
            if aggregates.get(slot).is_some_and(|chunk| chunk.decode(&mut samples).is_ok()) {
                fold.push(&samples.times, &samples.values, &mut total);
            }
        }
    }
    let _ = parse_frame(&bytes.to_vec().into());
    let mut frame = bytes.to_vec();
    if let Ok(Framed::Partial { needed }) = parse_frame(&frame.clone().into())
        && needed < 1 << 16
    {
        frame.resize(needed, 0);
    }
    if let Some(end) = frame.len().checked_sub(4).filter(|end| *end > 1) {
        let checksum = crc32c(&frame[1..end]).to_be_bytes();
        frame[end..].copy_from_slice(&checksum);
        let _ = parse_frame(&frame.into());
    }
});
