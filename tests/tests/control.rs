//! The control socket: whoever may open it cannot harm the bridge through it, and commands of another version say so.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    time::Instant,
};

use ior_tests::{Bridge, DEADLINE, World};
use serde_json::Value;

#[test]
fn those_who_connect_and_say_nothing_keep_nobody_waiting() {
    let bridge = Bridge::start();
    let before = bridge.process().open_files();
    let mut silent: Vec<_> = (0..200).map(|_| connect(&bridge)).collect();
    let start = Instant::now();
    let output = bridge.world().run(&["status"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(start.elapsed() < DEADLINE);
    // The first ones gave way.
    assert_eq!(silent[0].read(&mut [0]).unwrap(), 0);
    assert!(bridge.process().open_files() < before + 70, "most of them are closed");
    // The last one may still ask.
    assert!(ask(silent.pop().unwrap(), "{\"request\":\"hello\"}\n").contains("\"pid\""));
    drop(silent);
    let until = Instant::now() + DEADLINE;
    while bridge.process().open_files() > before {
        assert!(Instant::now() < until, "{} files are open still", bridge.process().open_files());
    }
}

#[test]
fn what_is_not_understood_is_told() {
    let bridge = Bridge::start();
    for request in [
        "{\"request\":\"sing\"}\n",
        "{\"request\":\"watch\",\"tenor\":true}\n",
        "{\"request\":\"watch\",\"kinds\":[\"song\"]}\n",
        "status\n",
        "\n",
        "{\"request\":\"status\"",
    ] {
        let stream = connect(&bridge);
        let answer = ask(stream, request);
        assert!(
            answer.contains("does not understand this") && answer.contains("version 0.1.0"),
            "{request}: {answer}"
        );
    }
    // Longer than any request.
    let mut stream = connect(&bridge);
    let _ = stream.write_all(&vec![b'x'; 1 << 20]);
    let mut answer = String::new();
    let _ = BufReader::new(stream).read_line(&mut answer);
    assert!(answer.is_empty() || answer.contains("does not understand this"), "{answer}");
    assert!(bridge.process().resident() < 100 << 20);
    assert!(bridge.world().run(&["status"]).status.success());
}

#[test]
fn a_request_without_a_line_end_counts_when_it_is_over() {
    let bridge = Bridge::start();
    let answer = ask(connect(&bridge), "{\"request\":\"hello\"}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["done"]["pid"], bridge.process().id());
}

#[test]
fn a_bridge_of_another_version_is_told_from_one_that_fails() {
    let (world, listener) = stand_in();
    let serve = std::thread::spawn(move || {
        for answer in [
            "{\"done\":{\"anything\":1}}\n",
            "{\"done\":{\"anything\":1}}\n",
            "{\"error\":\"it rains\"}\n",
            "nonsense\n",
            "",
            "{\"done\":{\"any",
        ] {
            // Who is not even told which bridge it is asks no more.
            let requests = if answer.ends_with('\n') { &["hello", "status"][..] } else { &["hello"] };
            for _ in requests {
                let (mut stream, _) = listener.accept().unwrap();
                BufReader::new(stream.try_clone().unwrap()).read_line(&mut String::new()).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    let json = world.run(&["status", "--json"]);
    assert!(json.status.success());
    assert_eq!(serde_json::from_slice::<Value>(&json.stdout).unwrap()["anything"], 1, "programs may know it");
    for words in [
        "is of another version than this program (0.1.0): restart it",
        "error: it rains",
        "is of another version",
        "has ended before it answered",
        "has ended before it answered",
    ] {
        let output = world.run(&["status"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(words), "{said}");
    }
    serve.join().unwrap();
}

/// A world in which something else answers.
fn stand_in() -> (World, UnixListener) {
    let (_, world) = Bridge::start().stop();
    let listener = UnixListener::bind(socket(&world)).unwrap();
    (world, listener)
}

fn socket(world: &World) -> PathBuf {
    world.data().join("control.sock")
}

fn connect(bridge: &Bridge) -> UnixStream {
    let stream = UnixStream::connect(socket(bridge.world())).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// The first line of the answer.
fn ask(mut stream: UnixStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}
