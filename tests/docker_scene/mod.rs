//! Docker behind a proxy that lets restarts and signals through and nothing else.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// What was asked of Docker, in order.
pub type Asked = Arc<Mutex<Vec<String>>>;

/// Its `DOCKER_HOST`, and what it is asked.
pub fn docker() -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("tcp://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let heard = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let heard = heard.clone();
            std::thread::spawn(move || answer(stream, &heard));
        }
    });
    (host, asked)
}

fn answer(mut stream: TcpStream, heard: &Asked) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
    let request = first.trim_end_matches(" HTTP/1.1").to_owned();
    let status = if request.starts_with("POST ") { "204 No Content" } else { "403 Forbidden" };
    heard.lock().unwrap().push(request);
    let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
}

/// What was done to containers.
pub fn told(asked: &Asked) -> Vec<String> {
    asked.lock().unwrap().iter().filter(|request| request.starts_with("POST ")).cloned().collect()
}
