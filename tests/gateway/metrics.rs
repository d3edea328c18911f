//! Scrapes the gateway's metrics, as Prometheus does.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::Gateway;

pub struct Scrape {
    pub text: String,
}

impl Scrape {
    /// Samples of one name: labels as written, and value.
    pub fn samples<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.text.lines().filter(|line| !line.starts_with('#')).filter_map(move |line| {
            let (series, value) = line.rsplit_once(' ')?;
            let labels = series.strip_prefix(name)?;
            (labels.is_empty() || labels.starts_with('{')).then(|| (labels, value.parse().unwrap()))
        })
    }

    /// One sample, labels included; a series that was never counted is 0.
    pub fn value(&self, series: &str) -> f64 {
        let find = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        self.text.lines().find_map(find).unwrap_or(0.0)
    }
}

impl Gateway {
    /// One plain HTTP request to the metrics' door; the whole answer.
    pub async fn get(&self, path: &str) -> String {
        let mut tcp = TcpStream::connect(self.metrics).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        answer
    }

    pub async fn scrape(&self) -> Scrape {
        let answer = self.get("/metrics").await;
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
        Scrape { text: text.to_owned() }
    }

    /// Scrapes until `good` accepts.
    pub async fn scrape_until(&self, good: impl Fn(&Scrape) -> bool) -> Scrape {
        let limit = Instant::now() + Duration::from_secs(15);
        loop {
            let scrape = self.scrape().await;
            if good(&scrape) {
                return scrape;
            }
            assert!(Instant::now() < limit, "it never came:\n{}", scrape.text);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
