//! A value that must never be printed and is zeroed when dropped.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// A secret: no `Display`, a redacted `Debug`, zeroed on drop. Read it with [`Secret::expose`].
///
/// It serialises in clear, for the one message that carries keys over the inherited socket pair to the gateway;
/// no file or log is written by serialising a type that holds one.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent, bound(serialize = "T: Zeroize + Serialize", deserialize = "T: Zeroize + Deserialize<'de>"))]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes ownership of the secret value.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// For telling whether material changed; a secret that a caller presents is never compared this way.
impl<T: Zeroize + PartialEq> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_never_shows_the_value() {
        let shown = format!("{:?}", Secret::new("hunter2".to_owned()));
        assert_eq!(shown, "[redacted]");
    }
}
