//! Calls of the gateway's own to the frontend: probes, and questions about namespaces.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderValue, Request};
use tokio::time::{sleep, timeout};

use super::Connector;
use crate::gateway::reply::status;

/// Needs no database and no token, and is answered once the frontend answers anything.
pub(in crate::gateway) const ALIVE_METHOD: &str = "GetSystemInfo";
/// What Temporal's frontend answers between opening its port and serving (its `HealthInterceptor`).
const NOT_YET: &str = "not healthy yet";
/// Between two questions whether it serves.
const AGAIN: Duration = Duration::from_millis(50);
/// A frontend that starts says so at once. One that says nothing for so long hangs: that is for the probe to find.
const SILENT: Duration = Duration::from_secs(1);

/// The head of such a call to WorkflowService.
pub(in crate::gateway) fn request(connector: &Connector, method: &str) -> Request<()> {
    let Connector { scheme, authority, .. } = connector;
    let uri = format!("{scheme}://{authority}/temporal.api.workflowservice.v1.WorkflowService/{method}");
    let mut request = Request::new(());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = uri.parse().unwrap_or_default();
    *request.version_mut() = http::Version::HTTP_2;
    let headers = request.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    headers.insert("grpc-timeout", HeaderValue::from_static("5S"));
    headers.insert("user-agent", HeaderValue::from_static("temporal-warden"));
    request
}

/// Sends it: gRPC status, its message, and the frames of the answer.
pub(in crate::gateway) async fn unary(
    send: &mut SendRequest<Bytes>,
    request: Request<()>,
    message: Bytes,
) -> Result<(u32, String, Bytes), h2::Error> {
    let (response, mut stream) = send.send_request(request, false)?;
    stream.send_data(message, true)?;
    let (head, mut body) = response.await?.into_parts();
    let mut frames = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        frames.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    let found = |name: &str| trailers.get(name).or(head.headers.get(name)).and_then(|v| v.to_str().ok());
    let code = found("grpc-status").and_then(|code| code.parse().ok()).unwrap_or(status::UNKNOWN);
    Ok((code, found("grpc-message").unwrap_or_default().to_owned(), frames.freeze()))
}

/// Returns once a frontend that was just started takes calls: until then it answers each with UNAVAILABLE, and a call
/// that was sent to it is not sent again. Any other answer, a refusal or silence too, is not one of a frontend that starts.
pub(super) async fn serves(send: &SendRequest<Bytes>, connector: &Connector) -> io::Result<()> {
    loop {
        let mut send = send.clone().ready().await.map_err(io::Error::other)?;
        let asked = unary(&mut send, request(connector, ALIVE_METHOD), Bytes::from_static(&[0; 5]));
        match timeout(SILENT, asked).await {
            Ok(Ok((status::UNAVAILABLE, why, _))) if why.contains(NOT_YET) => sleep(AGAIN).await,
            Ok(Err(error)) if error.is_io() || error.is_go_away() => return Err(io::Error::other(error)),
            Ok(_) | Err(_) => return Ok(()),
        }
    }
}
