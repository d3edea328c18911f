//! The message reader: any bytes as the first message of any method's request, plain and compressed, whole and in pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [row, how, body @ ..] = data else { return };
    let (gzip, framed, piece) = (how & 1 == 1, how & 2 == 0, usize::from(how >> 2));
    if !framed {
        return temporal_warden::gateway::fuzz::message(usize::from(*row), gzip, piece, body);
    }
    // A whole frame, so that the reader gets past its prefix every time.
    let length = u32::try_from(body.len()).unwrap_or_default();
    let frame = [&[u8::from(gzip)][..], &length.to_be_bytes(), body].concat();
    temporal_warden::gateway::fuzz::message(usize::from(*row), gzip, piece, &frame);
});
