//! Clients that misbehave in every way HTTP/2 knows, beside one that does not: it must not notice.
//!
//! One worker thread, so that all share everything: runtime, upstream connections, audit queue.

#[path = "gateway/mod.rs"]
mod gateway;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bytes::Bytes;
use gateway::{
    Gateway, LIST, Options, client,
    hostile::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Hostile, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
        fields, frame, head, string,
    },
};
use h2::client::{ResponseFuture, SendRequest};
use temporal_warden::gateway::link::Hello;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

/// A call that takes longer than this was held up, however busy the machine: alone it takes a millisecond.
const SLOW: Duration = Duration::from_secs(5);
const PARKED: usize = 20;
const UNREAD: &str = "temporal_warden_limit_hits_total{limit=\"unread_answers\"}";

/// The client that must not notice: polls that wait, and calls beside them.
struct Bystander {
    send: SendRequest<Bytes>,
    polls: Vec<ResponseFuture>,
    slowest: Duration,
}

async fn scene() -> (Gateway, Bystander) {
    let hello = Hello { threads: 1, ..Options::default().hello };
    let gateway = Gateway::with(Options { hello, ..Options::default() }).await;
    let mut send = gateway.connect().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    let mut polls = Vec::new();
    for _ in 0..PARKED {
        send = send.ready().await.unwrap();
        let hang = client::request(LIST, &[("authorization", &token), ("x-test", "hang")]);
        polls.push(send.send_request(hang, true).unwrap().0);
    }
    while gateway.backend.count() < PARKED {
        sleep(Duration::from_millis(5)).await;
    }
    (gateway, Bystander { send, polls, slowest: Duration::ZERO })
}

impl Bystander {
    async fn calls(&mut self, gateway: &Gateway, count: usize) {
        for _ in 0..count {
            let start = Instant::now();
            let reply = timeout(SLOW, gateway.call(&self.send, LIST, "temporal-client")).await.expect("held up");
            assert_eq!(reply.status(), 0, "{}", reply.message());
            self.slowest = self.slowest.max(start.elapsed());
        }
    }

    /// More calls, and every poll is still parked at the backend.
    async fn noticed_nothing(mut self, gateway: &Gateway) {
        self.calls(gateway, 50).await;
        for poll in &mut self.polls {
            assert!(timeout(Duration::from_millis(1), poll).await.is_err(), "a poll was ended");
        }
        eprintln!("slowest call beside it: {:?}", self.slowest);
    }
}

#[tokio::test]
async fn one_that_never_reads_its_answers() {
    let (gateway, mut bystander) = scene().await;
    let before = gateway.resident_kib();
    // It offers windows without end and leaves all in the socket.
    let mut hostile = Hostile::connect(&gateway, &[(4, i32::MAX as u32)]).await;
    hostile.send(&frame(WINDOW_UPDATE, 0, 0, &(i32::MAX as u32 - 65_535).to_be_bytes())).await;
    for stream in 0..400 {
        hostile.call(&gateway, 2 * stream + 1, "big", END_STREAM).await;
    }
    bystander.calls(&gateway, 100).await;
    let grown = gateway.resident_kib().saturating_sub(before);
    eprintln!("400 unread answers of 25 MB: {grown} KiB");
    // 400 × what one call may hold at either end: 64 KiB received and 64 KiB to send, a frame more of each.
    assert!(grown < 80 << 10, "{grown} KiB");
    bystander.noticed_nothing(&gateway).await;
}

#[tokio::test]
async fn one_that_leaves_thousands_of_answers_unread_is_cut_and_memory_stays_bounded() {
    let (gateway, mut bystander) = scene().await;
    let before = gateway.resident_kib();
    let mut greatest = 0;
    // With windows without end all lies in the send buffers; with windows of nothing all lies at the upstream.
    for window in [i32::MAX as u32, 0] {
        let cut = gateway.scrape().await.value(UNREAD);
        let mut hostile = Hostile::connect(&gateway, &[(4, window)]).await;
        if window > 0 {
            hostile.send(&frame(WINDOW_UPDATE, 0, 0, &(window - 65_535).to_be_bytes())).await;
        }
        let mut stream = 1;
        while gateway.scrape().await.value(UNREAD) == cut {
            assert!(stream < 9000, "4,500 answers of 25 MB are kept");
            for _ in 0..50 {
                hostile.call(&gateway, stream, "big", END_STREAM).await;
                stream += 2;
            }
            bystander.calls(&gateway, 2).await;
            greatest = greatest.max(gateway.resident_kib());
        }
        eprintln!("cut after {} calls", stream / 2);
    }
    let grown = greatest.saturating_sub(before);
    eprintln!("at most {grown} KiB");
    // 64 MiB may be unread; what comes between two looks, and what the allocator keeps, is on top.
    assert!(grown < 200 << 10, "{grown} KiB");
    bystander.noticed_nothing(&gateway).await;
}

#[tokio::test]
async fn one_that_sends_bytes_one_by_one_and_reads_none_of_the_echo() {
    let (gateway, mut bystander) = scene().await;
    let mut hostile = Hostile::connect(&gateway, &[]).await;
    for stream in (1..60).step_by(2) {
        hostile.call(&gateway, stream, "", 0).await;
        let tiny = frame(DATA, 0, stream, b"y").repeat(400);
        let empty = frame(DATA, 0, stream, b"").repeat(60);
        hostile.send(&[tiny, empty].concat()).await;
    }
    bystander.calls(&gateway, 100).await;
    bystander.noticed_nothing(&gateway).await;
}

#[tokio::test]
async fn one_that_opens_calls_and_resets_them_at_once() {
    let (gateway, mut bystander) = scene().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    for _ in 0..5 {
        let mut hostile = Hostile::connect(&gateway, &[]).await;
        hostile.reads();
        for stream in (1..4000).step_by(2) {
            let open = frame(HEADERS, END_HEADERS, stream, &head(&token, "hang"));
            let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            if !hostile.send(&[open, reset].concat()).await {
                break;
            }
        }
        bystander.calls(&gateway, 20).await;
    }
    bystander.noticed_nothing(&gateway).await;
}

#[tokio::test]
async fn one_that_cancels_forwarded_calls_in_great_number_and_keeps_its_connection() {
    let (gateway, mut bystander) = scene().await;
    let mut hostile = Hostile::connect(&gateway, &[]).await;
    hostile.reads();
    let mut opened = 0;
    for round in 0..40 {
        for at in 0..50 {
            opened += usize::from(hostile.call(&gateway, 2 * (50 * round + at) + 1, "hang", END_STREAM).await);
        }
        // Each must reach the backend, so that the resets go all the way.
        let limit = Instant::now() + SLOW;
        while gateway.backend.count() < PARKED + opened + 2 * round as usize && Instant::now() < limit {
            sleep(Duration::from_millis(2)).await;
        }
        for at in 0..50 {
            hostile.send(&frame(RST_STREAM, 0, 2 * (50 * round + at) + 1, &8_u32.to_be_bytes())).await;
        }
        bystander.calls(&gateway, 2).await;
    }
    eprintln!("{} of {opened} reset at the backend", gateway.backend.seen.resets.load(Ordering::SeqCst));
    // Cancelling is no offence: the connection goes on, however often it is done.
    assert_eq!((hostile.told(), opened), (None, 2000));
    bystander.noticed_nothing(&gateway).await;
}

#[tokio::test]
async fn one_that_floods_with_frames_that_ask_for_nothing() {
    let (gateway, mut bystander) = scene().await;
    let before = gateway.resident_kib();
    let floods: [(&str, Bytes); 4] = [
        ("pings", frame(PING, 0, 0, &[0; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[])),
        ("window updates", frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
        ("unknown frames", frame(0xbe, 0, 0, &[7; 8])),
    ];
    for (what, one) in floods {
        for reading in [true, false] {
            let mut hostile = Hostile::connect(&gateway, &[]).await;
            if reading {
                hostile.reads();
            }
            let many = one.repeat(1000);
            let flood = async {
                let mut sent = 0;
                while hostile.send(&many).await {
                    sent += 1;
                }
                sent
            };
            let (sent, ()) = tokio::join!(timeout(Duration::from_secs(30), flood), bystander.calls(&gateway, 50));
            let sent = sent.unwrap_or_else(|_| panic!("{what} are taken without end"));
            eprintln!("{what}, answers {}: cut after {sent} thousand", if reading { "read" } else { "unread" });
        }
    }
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "the floods left {grown} KiB");
    bystander.noticed_nothing(&gateway).await;
}

#[tokio::test]
async fn one_with_headers_without_end_or_measure() {
    let (gateway, mut bystander) = scene().await;
    let before = gateway.resident_kib();
    let token = client::bearer(&gateway.token("temporal-client"));

    let mut continued = Hostile::connect(&gateway, &[]).await;
    continued.reads();
    continued.send(&frame(HEADERS, 0, 1, &head(&token, ""))).await;
    let more = frame(CONTINUATION, 0, 1, &fields(&[("x-more", &"v".repeat(8000))]));
    let mut taken = 0;
    while taken < 4000 && continued.send(&more).await {
        taken += 1;
        if taken % 200 == 0 {
            bystander.calls(&gateway, 1).await;
        }
    }
    eprintln!("{} KiB of CONTINUATION taken", taken * 8);
    assert!(taken < 4000, "32 MB of headers were taken");

    // One field in the dynamic table, named a thousand times by one byte each (RFC 7541 §6.1, index 62).
    let mut bomb = Hostile::connect(&gateway, &[]).await;
    bomb.reads();
    let mut block = head(&token, "");
    block.push(0x40);
    string(&mut block, "x-bomb");
    string(&mut block, &"b".repeat(3900));
    block.extend(std::iter::repeat_n(0x80 | 62, 10_000));
    for stream in (1..200).step_by(2) {
        if !bomb.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)).await {
            break;
        }
    }
    bystander.calls(&gateway, 50).await;
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "the headers left {grown} KiB");
    bystander.noticed_nothing(&gateway).await;
}

#[tokio::test]
async fn sockets_that_say_nothing_are_closed_and_hold_nobody_up() {
    let (gateway, mut bystander) = scene().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    let papers = gateway.ca.client(gateway::certs::Client::default());
    let mut without_preface = gateway.tls(Some(papers), &[b"h2"]).await.unwrap();
    bystander.calls(&gateway, 50).await;
    let closed = async {
        use tokio::io::AsyncReadExt;
        for mut socket in silent {
            // A TLS alert may come before the end.
            let _ = socket.read_to_end(&mut Vec::new()).await;
        }
        let _ = without_preface.read_to_end(&mut Vec::new()).await;
    };
    timeout(Duration::from_secs(30), closed).await.expect("silent sockets stay open");
    bystander.noticed_nothing(&gateway).await;
}
