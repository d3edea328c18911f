//! New audit files, handed over by PID 1 as open descriptors over an inherited socket pair (unix(7):
//! `SOCK_SEQPACKET`, `SCM_RIGHTS`).

use std::{
    fs::File,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::OwnedFd,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};

use super::Recorder;

/// Takes files for ever, on a thread of its own; each is answered with one byte once lines go there.
pub(in crate::gateway) fn receive_files(from: OwnedFd, recorder: Recorder) -> io::Result<()> {
    let take = move || {
        loop {
            match next(&from) {
                Ok(Some(file)) => {
                    let switched = recorder.switch(file).blocking_recv().is_ok();
                    if !switched || send(&from, &[1], SendFlags::NOSIGNAL).is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => return tracing::error!(%error, "no more audit files can be taken over from PID 1"),
            }
        }
    };
    std::thread::Builder::new().name("audit-files".to_owned()).spawn(take).map(drop)
}

/// The next file; `None` when PID 1 is gone.
fn next(from: &OwnedFd) -> io::Result<Option<File>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let file: Option<OwnedFd> = files.flatten().next();
    file.map(|file| Some(file.into())).ok_or_else(|| io::Error::other("a message without a descriptor"))
}
