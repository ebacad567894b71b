//! Programs as sinks.

use super::*;

#[test]
fn a_program_gets_its_arguments_and_the_event_and_its_output_is_in_the_log() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    // One write for each line: two suppliers' programs run side by side.
    let script = r#"event=$(cat); printf "%s\n" "$event" >> "$1"; echo "$2 $LANDFALL_EVENT_TYPE"; test -z "$HOME""#;
    let command = format!("['/bin/sh', '-c', '{script}', 'import', '{}', 'two words; $HOME *']", out.display());
    let table = format!("[[sinks]]\nname = \"import\"\nkind = \"exec\"\ncommand = {command}\n");
    let server = start(Server::builder().tables(&table));
    land(&server, 4);
    let all = events(&server);
    let got = || lines(&std::fs::read_to_string(&out).unwrap_or_default());
    wait_until("the program to run for each", || (got().len() == all.len()).then_some(()));
    for user in USERS {
        assert_eq!(of_user(&got(), user), of_user(&all, user), "{user}");
    }
    wait_for_log(&server, "two words; $HOME * landfall.upload.landed");
    server.cli(&["events", "test", "import"]).ok();
}

#[test]
fn a_program_that_fails_or_hangs_is_started_again() {
    let place = tempfile::tempdir().unwrap();
    let (tries, out) = (place.path().join("tries"), place.path().join("out"));
    let script = format!(
        "echo x >> {tries}; case $(wc -l < {tries}) in 1) exit 7;; 2) sleep 600;; *) cat >> {out};; esac",
        tries = tries.display(),
        out = out.display()
    );
    let table = format!("timeout_seconds = 1\ncommand = ['/bin/sh', '-c', '{script}']\n");
    let table = format!("[[sinks]]\nname = \"import\"\nkind = \"exec\"\n{table}");
    let server = start(Server::builder().tables(&table));
    ftp(&server, "acme").upload("STOR a.jpg", b"hello").expect(226);
    wait_until("the third attempt", || out.exists().then_some(()));
    wait_for_log(&server, "ended with exit code 7");
    wait_for_log(&server, "was killed after 1 s");
    wait_for_log(&server, "event delivered");
    let children = |thread: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap_or_default()
    };
    wait_until("all children to be collected", || {
        let mut threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        threads.all(|thread| children(thread).trim().is_empty()).then_some(())
    });
}
