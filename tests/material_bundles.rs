//! Published bundles: what is in them, and what a hostile consumer can do to them.

mod material_scene;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, chown, symlink},
    path::Path,
    time::Duration as StdDuration,
};

use material_scene::{NOW, Scene, child, child_folder, marks_through_data, set};
use temporal_warden::{
    rotation::BundleState,
    store::{File, Set, publish_bundle},
};

#[test]
fn each_bundle_holds_what_its_consumer_needs_and_nothing_else() {
    let mut scene = Scene::new();
    scene.mount_bundles();
    let (live, _) = scene.start();
    assert!(live.bundles.iter().all(|b| b.state == BundleState::Published(0)), "{:?}", live.bundles);
    let root = nix::unistd::geteuid().is_root();
    for (name, gid, token) in [
        ("client", 1000, "client-token.jwt"),
        ("worker", 1000, "worker-token.jwt"),
        ("ui", 1000, "ui-token.jwt"),
        ("postgres", 999, "password"),
    ] {
        let dir = scene.bundle(name);
        let flat = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let flat: BTreeSet<_> = flat.filter(|n| !n.starts_with("..")).collect();
        let (cert, key) = match name {
            "postgres" => ("server.crt", "server.key"),
            _ => ("temporal-client.crt", "temporal-client.key"),
        };
        assert_eq!(flat, ["ca.crt", cert, key, token].map(str::to_owned).into());
        for file in [key, token] {
            let m = fs::metadata(dir.join(file)).unwrap();
            assert_eq!(m.mode() & 0o7777, 0o640, "{name}/{file}");
            assert!(!root || (m.uid(), m.gid()) == (0, gid), "{name}/{file}");
        }
        assert_eq!(fs::metadata(dir.join("ca.crt")).unwrap().mode() & 0o7777, 0o644);
        assert_eq!(fs::metadata(dir.join("..data/manifest.json")).unwrap().mode() & 0o7777, 0o600);
    }
    assert_eq!(
        fs::read(scene.bundle("postgres").join("password")).unwrap(),
        scene.read("postgres-password").as_bytes()
    );
    assert_ne!(
        fs::read(scene.bundle("worker").join("temporal-client.key")).unwrap(),
        scene.read("temporal-client.key").as_bytes()
    );
}

#[test]
fn a_password_of_the_users_own_is_the_one_published() {
    use temporal_warden::config::{Database, Postgres, PostgresTls};
    let mut scene = Scene::new();
    scene.mount_bundles();
    scene.config.temporal.database = Database::Postgres(Box::new(Postgres {
        plugin: "postgres12".into(),
        host: "postgres".into(),
        port: 5432,
        user: "temporal".into(),
        password: Some("s3cret".to_owned().into()),
        database: "temporal".into(),
        visibility_database: "temporal_visibility".into(),
        tls: PostgresTls { enabled: true, verify_host: true, ca_file: None, client: None },
        create: true,
        wait: StdDuration::ZERO,
    }));
    let (live, _) = scene.start();
    assert_eq!(live.postgres_password.expose(), "s3cret");
    assert_eq!(fs::read_to_string(scene.bundle("postgres").join("password")).unwrap(), "s3cret");
}

#[test]
fn a_folder_that_is_no_mount_is_left_alone() {
    let scene = Scene::new();
    fs::create_dir_all(scene.bundle("client")).unwrap();
    let (live, _) = scene.start();
    assert!(live.bundles.iter().all(|b| matches!(b.state, BundleState::Skipped(_))));
    assert_eq!(fs::read_dir(scene.bundle("client")).unwrap().count(), 0);
}

#[test]
fn a_bundle_that_changed_or_vanished_is_published_again() {
    let mut scene = Scene::new();
    scene.mount_bundles();
    scene.start();
    fs::write(scene.bundle("ui").join("ca.crt"), "spoilt").unwrap();
    fs::remove_dir_all(scene.bundle("client")).unwrap();
    fs::create_dir(scene.bundle("client")).unwrap();
    let (live, _) = scene.start();
    let states: Vec<_> = live.bundles.iter().map(|b| b.state.clone()).collect();
    let (current, first) = (BundleState::Current, BundleState::Published(0));
    assert_eq!(states, [first, current.clone(), current, BundleState::Published(1)]);
    assert_eq!(fs::read_to_string(scene.bundle("ui").join("ca.crt")).unwrap(), scene.read("ca.crt"));
}

#[test]
fn a_link_replaced_by_a_copy_becomes_a_link_again() {
    let mut scene = Scene::new();
    scene.mount_bundles();
    scene.start();
    let path = scene.bundle("client").join("ca.crt");
    let content = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, content).unwrap();
    if nix::unistd::geteuid().is_root() {
        chown(&path, None, Some(1000)).unwrap();
    }
    scene.start();
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink(), "a copy would miss the next rotation");
}

#[test]
fn a_hostile_consumer_with_a_writable_mount_gains_nothing() {
    let mut scene = Scene::new();
    scene.mount_bundles();
    scene.start();
    let victim = scene.folder.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("file"), "untouched").unwrap();
    let plant: [&dyn Fn(&Path); 9] = [
        &|dir| drop((fs::remove_file(dir.join("..data")), symlink(&victim, dir.join("..data")))),
        &|dir| drop((fs::remove_file(dir.join("..data")), fs::create_dir_all(dir.join("..data/deep/er")))),
        &|dir| drop((fs::remove_file(dir.join("..data")), symlink("..g18446744073709551615", dir.join("..data")))),
        &|dir| symlink(victim.join("file"), dir.join("..data.new")).unwrap(),
        &|dir| symlink(&victim, dir.join("..g1")).unwrap(),
        &|dir| drop((fs::remove_file(dir.join("ca.crt")), symlink(victim.join("file"), dir.join("ca.crt")))),
        &|dir| drop((fs::remove_file(dir.join("ca.crt")), fs::create_dir_all(dir.join("ca.crt/x/y")))),
        &|dir| {
            let _ = fs::remove_file(dir.join("client-token.jwt"));
            nix::unistd::mkfifo(&dir.join("client-token.jwt"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        },
        &|dir| {
            let generation = fs::canonicalize(dir.join("..data")).unwrap();
            fs::remove_file(generation.join("temporal-client.key")).unwrap();
            symlink(victim.join("file"), generation.join("temporal-client.key")).unwrap();
            let root = nix::unistd::geteuid().is_root();
            if root {
                chown(dir, Some(1000), Some(1000)).unwrap();
                chown(&generation, Some(1000), Some(1000)).unwrap();
            }
        },
    ];
    for (n, plant) in plant.iter().enumerate() {
        plant(&scene.bundle("client"));
        let (live, _) = scene.start();
        let client = live.bundles.iter().find(|b| b.name == "client").unwrap();
        assert!(!matches!(client.state, BundleState::Failed(_)), "{n}: {client}");
        for (file, source) in [
            ("ca.crt", "ca.crt"),
            ("client-token.jwt", "client-token.jwt"),
            ("temporal-client.key", "temporal-client.key"),
        ] {
            let path = scene.bundle("client").join(file);
            assert_eq!(fs::read_to_string(&path).unwrap(), scene.read(source), "{n}: {file}");
        }
        let seen: Vec<_> = fs::read_dir(&victim).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!((seen.len(), fs::read_to_string(victim.join("file")).unwrap().as_str()), (1, "untouched"), "{n}");
        let before = scene.look();
        scene.start();
        assert_eq!(scene.look(), before, "{n}: settled");
    }
}

#[test]
#[ignore = "the child of other tests"]
fn child_publishes_a_bundle() {
    let folder = child_folder();
    publish_bundle(&folder, &grouped("new"), NOW).unwrap();
}

/// A set for the group of an application.
fn grouped(mark: &str) -> Set {
    set(mark).into_iter().map(|(name, file)| (name, File { gid: Some(1000), ..file })).collect()
}

#[test]
fn four_capabilities_are_enough_to_publish_into_a_folder_its_consumer_made_its_own() {
    use std::os::unix::fs::PermissionsExt as _;
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    publish_bundle(folder.path(), &grouped("old"), NOW).unwrap();
    let generation = fs::canonicalize(folder.path().join("..data")).unwrap();
    for path in [generation.join("a"), generation.join("folder"), generation, folder.path().to_owned()] {
        chown(&path, Some(1000), Some(1000)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let caps = "--bounding-set=-all,+chown,+setuid,+setgid,+kill";
    let mut publisher = child("child_publishes_a_bundle", folder.path(), &["setpriv", "--inh-caps=-all", caps]);
    assert!(publisher.wait().unwrap().success());
    assert_eq!(marks_through_data(folder.path()), BTreeSet::from(["new".to_owned()]));
    let m = fs::metadata(folder.path().join("a")).unwrap();
    assert_eq!((m.uid(), m.gid(), m.mode() & 0o7777), (0, 1000, 0o640));
}

#[test]
fn a_bundle_is_not_rewritten_when_nothing_changed() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(publish_bundle(folder.path(), &set("a"), NOW).unwrap(), Some(0));
    assert_eq!(publish_bundle(folder.path(), &set("a"), NOW).unwrap(), None);
    assert_eq!(publish_bundle(folder.path(), &set("b"), NOW).unwrap(), Some(1));
}

#[test]
fn what_a_consumer_piled_up_in_its_bundle_is_not_followed_without_end() {
    let mut scene = Scene::new();
    scene.mount_bundles();
    scene.start();
    let path = scene.bundle("client").join("ca.crt");
    fs::remove_file(&path).unwrap();
    fs::create_dir_all(path.join("1/2/3/4/5/6")).unwrap();
    let said = scene.start().0.bundles.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(said.contains("bundle client could not be published: "), "{said}");
    assert!(said.contains("is a folder nested too deep to remove; move it away and start again"), "{said}");
}
