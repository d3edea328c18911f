//! What a token says of itself, signature unchecked: enough to name it or show it, never to trust it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::Refusal;

/// The claims of a compact token, whoever signed it.
pub fn claimed(compact: &str) -> Result<Map<String, Value>, Refusal> {
    let parts: Vec<&str> = compact.trim().split('.').collect();
    let [_, payload, _] = parts[..] else { return Err(Refusal::Malformed("is not three parts separated by dots")) };
    let bytes = URL_SAFE_NO_PAD.decode(payload).ok();
    let claims = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    claims.ok_or(Refusal::Malformed("payload is not a JSON object of claims in base64url"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_but_three_parts_with_an_object_is_refused() {
        for text in ["", "a", "a.b", "a.W10.c", "a.!.c", "a.e30.c.d"] {
            assert!(claimed(text).is_err(), "{text}");
        }
        assert!(claimed("x.eyJqdGkiOiIxIn0.y\n").is_ok_and(|claims| claims["jti"] == "1"));
    }
}
