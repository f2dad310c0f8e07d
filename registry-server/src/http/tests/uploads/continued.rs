//! Saved hash states: another replica can continue an upload, and no wrong hash state turns wrong bytes into a blob.

use super::*;

#[tokio::test]
async fn another_replica_continues_an_upload_from_the_saved_hash_state() {
    let server = server();
    let content = pattern(5_000_001);
    let digest = Digest::sha256(&content);
    let location = start(&server, "a").await;
    let location = server
        .send("PATCH", &location, &[], content[..3_000_000].to_vec())
        .await
        .location();
    let states: Vec<String> = server
        .files()
        .into_keys()
        .filter(|path| path.contains("/hashstates/sha256/"))
        .collect();
    assert_eq!(states.len(), 1);
    assert!(states[0].ends_with("/hashstates/sha256/3000000"), "{states:?}");
    let replica = app_in(server.folder.path(), Settings::default(), |_| {});
    let answer = send(
        &replica,
        "PATCH",
        &location,
        &[],
        content[3_000_000..5_000_000].to_vec(),
    )
    .await;
    let location = answer.is(202, &[("range", "0-4999999")]).location();
    let put = format!("{location}&digest={digest}");
    server
        .send("PUT", &put, &[], content[5_000_000..].to_vec())
        .await
        .is(201, &[]);
    assert_eq!(uploads_left(&server), 0);
}

#[tokio::test]
async fn missing_broken_and_lying_hash_states_do_no_harm() {
    for damage in ["missing", "broken", "lying", "behind the end"] {
        let server = server();
        let content = pattern(3_000_000);
        let digest = Digest::sha256(&content);
        let location = start(&server, "a").await;
        let location = server
            .send("PATCH", &location, &[], content[..2_000_000].to_vec())
            .await
            .location();
        let path = server
            .files()
            .into_keys()
            .find(|path| path.contains("/hashstates/"))
            .unwrap();
        let path = server.folder.path().join(path);
        match damage {
            "missing" => std::fs::remove_file(&path).unwrap(),
            "broken" => std::fs::write(&path, "torn").unwrap(),
            // The hash state of other bytes. It is detected by its length.
            "lying" => {
                let mut other = registry_oci::Hasher::new();
                other.update(b"other");
                std::fs::write(&path, other.to_go_state()).unwrap();
            }
            _ => std::fs::rename(&path, path.with_file_name("2500000")).unwrap(),
        }
        let put = format!("{location}&digest={digest}");
        server
            .send("PUT", &put, &[], content[2_000_000..].to_vec())
            .await
            .is(201, &[]);
    }
}

#[tokio::test]
async fn a_state_that_another_server_saved_of_its_own_bytes_alone_does_no_harm() {
    let server = server();
    let content = pattern(3_000_000);
    let digest = Digest::sha256(&content);
    let location = start(&server, "a").await;
    let location = server
        .send("PATCH", &location, &[], content[..500_000].to_vec())
        .await
        .location();
    // Distribution finds no hash state at 500000. It then stores the hash of the bytes that it received under that
    // length.
    let data = server
        .files()
        .into_keys()
        .find(|path| path.contains("/_uploads/") && path.ends_with("/data"))
        .unwrap();
    let data = server.folder.path().join(data);
    std::fs::write(&data, &content[..1_700_000]).unwrap();
    let mut alone = registry_oci::Hasher::new();
    alone.update(&content[500_000..1_700_000]);
    let states = data.with_file_name("hashstates").join("sha256");
    std::fs::create_dir_all(&states).unwrap();
    std::fs::write(states.join("1200000"), alone.to_go_state()).unwrap();

    let location = server
        .get(&location)
        .await
        .is(204, &[("range", "0-1699999")])
        .location();
    let location = server
        .send("PATCH", &location, &[], content[1_700_000..2_900_000].to_vec())
        .await
        .location();
    let left: Vec<_> = std::fs::read_dir(&states)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["2900000"], "the one that holds, and no other");
    let put = format!("{location}&digest={digest}");
    server
        .send("PUT", &put, &[], content[2_900_000..].to_vec())
        .await
        .is(201, &[]);
}

#[tokio::test]
async fn small_chunks_of_a_large_upload_save_their_state_too() {
    let server = server();
    let content = pattern(1_600_000);
    let mut location = start(&server, "a").await;
    for chunk in content.chunks(400_000) {
        location = server
            .send("PATCH", &location, &[], chunk.to_vec())
            .await
            .location();
    }
    let states: Vec<String> = server
        .files()
        .into_keys()
        .filter(|path| path.contains("/hashstates/"))
        .collect();
    assert!(
        matches!(&states[..], [state] if state.ends_with("/hashstates/sha256/1600000")),
        "{states:?}"
    );
}
