//! `temporal-warden rotate`: everything new, in one go.

use std::process::ExitCode;

use super::ask;
use crate::rotation::Request;

pub(super) fn main() -> ExitCode {
    ask::make_all(&[Request::RotateCa { keep_keys: false }, Request::RotateKey])
}
