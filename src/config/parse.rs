//! One setting → one typed value; a bad one leaves an error and a stand-in, so that all errors come at once.

use std::{fmt::Display, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use serde::de::DeserializeOwned;

use super::raw::Setting;

/// Whether a switch is written as off.
pub(super) fn is_off(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "false" | "0" | "no" | "off")
}

/// Collects errors while settings are read.
pub(super) struct Parser(pub(super) Vec<String>);

impl Parser {
    /// `setting` is wrong: why, and what to do.
    pub(super) fn refuse(&mut self, setting: &Setting, why: impl Display) {
        self.0.push(format!("{}: {why}", setting.shown()));
    }

    /// Whether all of these could be read: a stand-in is compared with nothing.
    pub(super) fn are_good(&self, settings: &[&Setting]) -> bool {
        let refused = |setting: &&Setting| self.0.iter().any(|line| line.starts_with(&setting.shown()));
        !settings.iter().any(refused)
    }

    /// A switch.
    pub(super) fn switch(&mut self, setting: &Setting) -> bool {
        match setting.text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            _ if is_off(&setting.text) => false,
            _ => {
                self.refuse(setting, "is no switch; write true or false");
                false
            }
        }
    }

    /// A duration, zero allowed.
    pub(super) fn duration(&mut self, setting: &Setting) -> Duration {
        humantime::parse_duration(&setting.text).unwrap_or_else(|e| {
            self.refuse(setting, format_args!("is no duration ({e}); write for example 90d, 12h or 10s"));
            Duration::ZERO
        })
    }

    /// A duration of at least `least`.
    pub(super) fn duration_from(&mut self, setting: &Setting, least: Duration) -> Duration {
        let errors = self.0.len();
        let value = self.duration(setting);
        if value < least && self.0.len() == errors {
            self.refuse(setting, format_args!("is too short; at least {}", humantime::format_duration(least)));
        }
        value
    }

    /// A number in `range`.
    pub(super) fn number<T>(&mut self, setting: &Setting, range: std::ops::RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        match setting.text.parse::<T>() {
            Ok(value) if range.contains(&value) => value,
            _ => {
                let (from, to) = (range.start(), range.end());
                self.refuse(setting, format_args!("must be a whole number from {from} to {to}"));
                *from
            }
        }
    }

    /// A size in bytes of at least `least`, with a unit if one is written; `None` for 0.
    pub(super) fn size(&mut self, setting: &Setting, least: u64) -> Option<u64> {
        let text = setting.text.to_ascii_lowercase();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
        let unit = match text[digits.len()..].trim().trim_end_matches('b') {
            "" => Some(1),
            "k" | "ki" => Some(1 << 10),
            "m" | "mi" => Some(1 << 20),
            "g" | "gi" => Some(1 << 30),
            _ => None,
        };
        match unit.and_then(|unit: u64| digits.parse::<u64>().ok()?.checked_mul(unit)) {
            Some(0) => None,
            Some(size) if size >= least => Some(size),
            Some(_) => {
                self.refuse(setting, format_args!("is too small; at least {}KiB, or 0 for no limit", least >> 10));
                None
            }
            None => {
                self.refuse(setting, "is no size; write for example 500KiB, 100MiB or 1GiB");
                None
            }
        }
    }

    /// `address:port`.
    pub(super) fn address(&mut self, setting: &Setting) -> SocketAddr {
        setting.text.parse().unwrap_or_else(|_| {
            self.refuse(setting, "is no address and port; write for example 0.0.0.0:7233 or [::]:7233");
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    /// An absolute path.
    pub(super) fn path(&mut self, setting: &Setting) -> PathBuf {
        let path = PathBuf::from(&setting.text);
        if !path.is_absolute() || setting.text.chars().any(char::is_control) {
            self.refuse(setting, "is no absolute path; write one that begins with /");
        }
        path
    }

    /// An absolute path, or `None` when nothing is set.
    pub(super) fn optional_path(&mut self, setting: &Setting) -> Option<PathBuf> {
        setting.given().is_some().then(|| self.path(setting))
    }

    /// Certificate and key: both or none.
    pub(super) fn pair(&mut self, cert: &Setting, key: &Setting) -> Option<(PathBuf, PathBuf)> {
        match (self.optional_path(cert), self.optional_path(key)) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => {
                self.refuse(cert, format_args!("needs {} as well", key.name));
                None
            }
            (None, Some(_)) => {
                self.refuse(key, format_args!("needs {} as well", cert.name));
                None
            }
        }
    }

    /// A word of an enumeration; `choices` as in the message, the first is the stand-in.
    pub(super) fn choice<T: DeserializeOwned + Copy>(&mut self, setting: &Setting, choices: &[T], words: &str) -> T {
        let word = serde_json::Value::String(setting.text.to_ascii_lowercase());
        serde_json::from_value(word).unwrap_or_else(|_| {
            self.refuse(setting, format_args!("must be {words}"));
            choices[0]
        })
    }

    /// A list separated by commas (blanks too), each parsed by `T`.
    pub(super) fn list<T: FromStr<Err = String>>(&mut self, setting: &Setting) -> Vec<T> {
        let items = setting.text.split([',', ' ', '\n']).filter(|i| !i.is_empty()).map(str::parse);
        let (good, bad): (Vec<_>, Vec<_>) = items.partition(Result::is_ok);
        for error in bad.into_iter().filter_map(Result::err) {
            self.refuse(setting, error);
        }
        good.into_iter().filter_map(Result::ok).collect()
    }

    /// Text that is set and made of letters, digits and `allowed`.
    pub(super) fn name(&mut self, setting: &Setting, allowed: &str) -> String {
        let good = |c: char| c.is_ascii_alphanumeric() || allowed.contains(c);
        if setting.text.is_empty() || !setting.text.chars().all(good) {
            self.refuse(setting, format_args!("must be made of letters, digits and {allowed}"));
        }
        setting.text.clone()
    }
}
