//! HTTP/2 written by hand, for clients that no library would be.

use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::{Gateway, LIST, certs, client};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// One frame (RFC 9113 §4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(9 + payload.len());
    frame.put_uint(payload.len() as u64, 3);
    frame.put_u8(kind);
    frame.put_u8(flags);
    frame.put_u32(stream);
    frame.put_slice(payload);
    frame.freeze()
}

/// Fields without any compression (RFC 7541 §6.2.2).
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

/// A string without Huffman coding (RFC 7541 §5.2).
pub fn string(block: &mut Vec<u8>, text: &str) {
    if text.len() < 127 {
        block.push(text.len() as u8);
    } else {
        block.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            block.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text.as_bytes());
}

/// A call's header block.
pub fn head(token: &str, test: &str) -> Vec<u8> {
    fields(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":path", LIST),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", token),
        ("x-test", test),
    ])
}

/// Kind and payload of the next frame.
async fn received(read: &mut ReadHalf<TlsStream<TcpStream>>) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    read.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
    read.read_exact(&mut payload).await.ok()?;
    Some((head[3], payload))
}

/// A connection with a good certificate whose frames are made by hand.
pub struct Hostile {
    write: WriteHalf<TlsStream<TcpStream>>,
    /// Kept unread, so that the socket stays open.
    read: Option<ReadHalf<TlsStream<TcpStream>>>,
    told: Arc<Mutex<Option<String>>>,
}

impl Hostile {
    /// After its preface and these settings, each a number and a value.
    pub async fn connect(gateway: &Gateway, settings: &[(u16, u32)]) -> Self {
        Self::connect_as(gateway, certs::Client::default(), settings).await
    }

    /// The same with a certificate of one's own.
    pub async fn connect_as(gateway: &Gateway, client: certs::Client, settings: &[(u16, u32)]) -> Self {
        let papers = gateway.ca.client(client);
        let (read, write) = split(gateway.tls(Some(papers), &[b"h2"]).await.unwrap());
        let mut hostile = Self { write, read: Some(read), told: Arc::default() };
        let mut payload = Vec::new();
        for (number, value) in settings {
            payload.put_u16(*number);
            payload.put_u32(*value);
        }
        hostile.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        hostile.send(&frame(SETTINGS, 0, 0, &payload)).await;
        hostile
    }

    /// Reads all that comes, and throws it away but for what a GOAWAY says.
    pub fn reads(&mut self) {
        let (mut read, told) = (self.read.take().unwrap(), self.told.clone());
        tokio::spawn(async move {
            while let Some((kind, payload)) = received(&mut read).await {
                if kind == GOAWAY {
                    *told.lock().unwrap() =
                        Some(format!("code {} {}", payload[7], String::from_utf8_lossy(&payload[8..])));
                }
            }
        });
    }

    /// The frames that come until the other side closes.
    pub async fn until_closed(&mut self) -> Vec<(u8, Vec<u8>)> {
        let (mut read, mut frames) = (self.read.take().unwrap(), Vec::new());
        while let Some(frame) = received(&mut read).await {
            frames.push(frame);
        }
        frames
    }

    /// What the GOAWAY said, if one came.
    pub fn told(&self) -> Option<String> {
        self.told.lock().unwrap().clone()
    }

    /// Whether the connection still takes bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.write.write_all(bytes).await.is_ok() && self.write.flush().await.is_ok()
    }

    /// A call on `stream` with its one message, left open or ended.
    pub async fn call(&mut self, gateway: &Gateway, stream: u32, test: &str, flags: u8) -> bool {
        let token = client::bearer(&gateway.token("temporal-client"));
        let frames = [
            frame(HEADERS, END_HEADERS, stream, &head(&token, test)),
            frame(DATA, flags, stream, &client::message(b"x")),
        ];
        self.send(&frames.concat()).await
    }
}
