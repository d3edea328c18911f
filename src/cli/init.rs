//! `temporal-warden init`: make what is missing and exit.

use std::process::ExitCode;

use super::ask;
use crate::rotation;

pub(super) fn main() -> ExitCode {
    ask::make(rotation::Request::MakeMissing)
}
