//! Which container this is.

/// Our own container's id, from the files Docker mounts into every container; `None` outside one.
pub fn own_id() -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    find(&mounts)
}

/// The id in `…/containers/ID/hostname`; the host name itself is no proof, for `hostname:` changes it.
fn find(mountinfo: &str) -> Option<String> {
    let mut words = mountinfo.split_whitespace().filter_map(|word| word.split_once("/containers/"));
    words.find_map(|(_, rest)| {
        let (id, file) = rest.split_once('/')?;
        let whole = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
        (whole && matches!(file, "hostname" | "hosts" | "resolv.conf")).then(|| id.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn the_id_is_that_of_the_mounted_files_and_of_nothing_else() {
        let id = "0123456789abcdef".repeat(4);
        let line = format!("1 2 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n");
        assert_eq!(find(&line), Some(id));
        assert_eq!(find("1 2 8:1 / / rw - ext4 /dev/sda1 rw\n"), None);
        assert_eq!(find("1 2 8:1 /srv/containers/mine/hostname /x rw - ext4 a rw\n"), None);
    }
}
