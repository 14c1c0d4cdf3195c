//! `leasehold serve s3`, through the real binary; the client is the same binary with a store by URL.

mod support;

use std::{fs, net::TcpStream, process::Command};

use support::{Outcome, Place, Running, bare, finish};

const ACCESS: &str = "access";
const SECRET: &str = "secret/with+signs";

/// Without what the machine's own environment and files say about AWS.
fn without_credentials(mut command: Command, place: &Place) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
    }
    let nowhere = place.path().join("nowhere");
    command.env("AWS_CONFIG_FILE", &nowhere).env("AWS_SHARED_CREDENTIALS_FILE", &nowhere);
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_REGION", "us-east-1");
    command
}

fn with_credentials(command: Command, place: &Place, access_key: &str, secret_key: &str) -> Command {
    let mut command = without_credentials(command, place);
    command.env("AWS_ACCESS_KEY_ID", access_key).env("AWS_SECRET_ACCESS_KEY", secret_key);
    command
}

/// A server that listens, and what it said.
struct Server {
    running: Running,
    url: String,
    address: String,
}

impl Server {
    fn of(command: Command) -> Self {
        let running = Running::start(command);
        let said: serde_json::Value = serde_json::from_str(&running.line()).expect("one line of JSON");
        let text = |name: &str| said[name].as_str().expect("a text").to_owned();
        Self { url: text("url"), address: text("address"), running }
    }

    fn start(place: &Place) -> Self {
        let arguments = ["serve", "s3", "--listen", "127.0.0.1:0", "--bucket", "photos", "--json"];
        Self::of(with_credentials(place.command(arguments), place, ACCESS, SECRET))
    }

    /// A command on the bucket, as a client of the protocol.
    fn ask(&self, place: &Place, keys: (&str, &str), arguments: &[&str]) -> Outcome {
        let store = format!("s3://photos?endpoint={}", self.url);
        let arguments = [&["--store", &store], arguments].concat();
        finish(&mut with_credentials(bare(arguments), place, keys.0, keys.1))
    }
}

#[test]
fn an_object_is_a_file_of_the_store_and_the_other_way_round() {
    let place = Place::new();
    let server = Server::start(&place);
    assert_eq!(server.url, format!("http://{}", server.address));
    assert!(!server.address.ends_with(":0"), "the port is the real one");
    let ask = |arguments: &[&str]| server.ask(&place, (ACCESS, SECRET), arguments);

    ask(&["put", "2026/cat.jpg", "meow"]).expect(0);
    assert_eq!(place.run(["get", "photos/2026/cat.jpg"]).expect(0).stdout, "meow");
    place.run(["put", "photos/dog.jpg", "woof"]).expect(0);
    assert_eq!(ask(&["get", "dog.jpg"]).expect(0).stdout, "woof");
    assert_eq!(ask(&["ls"]).expect(0).stdout, place.run(["ls", "photos/"]).stdout.replace("photos/", ""));

    // Conditions are the store's, whichever way they come.
    ask(&["put", "dog.jpg", "again", "--if-absent"]).expect(1);
    let version = place.run(["put", "photos/dog.jpg", "newer"]).expect(0).stdout;
    ask(&["put", "dog.jpg", "newest", "--if-match", version.trim()]).expect(0);
    ask(&["put", "dog.jpg", "too late", "--if-match", version.trim()]).expect(1);
    assert_eq!(place.run(["get", "photos/dog.jpg"]).stdout, "newest");
    ask(&["del", "dog.jpg"]).expect(0);
    place.run(["get", "photos/dog.jpg"]).expect(1);

    server.ask(&place, (ACCESS, "wrong"), &["get", "2026/cat.jpg"]).refused(4, "");
    server.ask(&place, ("nobody", SECRET), &["get", "2026/cat.jpg"]).refused(4, "");
}

#[test]
fn a_lock_over_a_bucket_has_one_holder_at_a_time() {
    let place = Place::new();
    let server = Server::start(&place);
    let store = format!("s3://photos/app?endpoint={}", server.url);
    let lock = |options: &[&str], command: &[&str]| {
        let arguments = [&["--store", &store, "lock", "nightly"], options, &["--"], command].concat();
        with_credentials(bare(arguments), &place, ACCESS, SECRET)
    };
    let mut held = lock(&[], &["cat"]);
    held.stdin(std::process::Stdio::piped());
    let mut holder = Running::start(held);
    holder.feed("held\n");
    assert_eq!(holder.line(), "held");
    finish(&mut lock(&["--try"], &["true"])).expect(75);
    holder.close().expect(0);
    let script = "echo $LEASEHOLD_LOCK $LEASEHOLD_TOKEN";
    assert_eq!(finish(&mut lock(&["--wait", "30s"], &["sh", "-c", script])).expect(0).stdout, "nightly 2\n");
}

#[test]
fn the_demo_holds_over_a_bucket() {
    let (place, input) = (Place::new(), Place::new());
    let server = Server::start(&place);
    fs::create_dir_all(input.path()).expect("it is made");
    for number in 0..20 {
        fs::write(input.path().join(format!("f{number}")), format!("line {number}\n").repeat(number))
            .expect("it is written");
    }
    let input = input.path();
    let input = input.to_str().expect("a path in UTF-8");
    let demo = ["demo", "--json", "--input", input, "--ttl", "1s", "--shards", "6"];
    let report = server.ask(&place, (ACCESS, SECRET), &demo).expect(0).json();
    assert_eq!((&report["ok"], &report["lost"]), (&true.into(), &0.into()), "{report}");
    assert!(report["takeovers"].as_u64() > Some(0), "{report}");
}

#[test]
fn a_signal_ends_it_and_closes_the_port() {
    for signal in ["TERM", "INT"] {
        let place = Place::new();
        let server = Server::start(&place);
        drop(TcpStream::connect(&server.address).expect("it listens"));
        server.running.signal(signal);
        let ended = server.running.end().expect(0);
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""), "{signal}");
        assert!(TcpStream::connect(&server.address).is_err(), "nobody listens any more");
    }
}

#[test]
fn what_was_written_is_there_for_the_next_server() {
    let place = Place::new();
    let first = Server::start(&place);
    first.ask(&place, (ACCESS, SECRET), &["put", "k", "kept"]).expect(0);
    first.running.signal("TERM");
    first.running.end().expect(0);
    let second = Server::start(&place);
    assert_eq!(second.ask(&place, (ACCESS, SECRET), &["get", "k"]).expect(0).stdout, "kept");
}

#[test]
fn what_is_written_behind_is_stored_before_the_server_ends() {
    let place = Place::new();
    let file = place.path().with_extension("toml");
    let layer = "[[layer]]\nbatch = { mode = \"write-behind\", wait = \"1h\" }\n";
    fs::write(&file, format!("store = {:?}\n{layer}", place.url())).expect("the stack is written");
    let file = file.to_str().expect("the path is text");
    let serve = ["--config", file, "serve", "s3", "--listen", "127.0.0.1:0", "--bucket", "photos", "--json"];
    let server = Server::of(with_credentials(place.command(serve), &place, ACCESS, SECRET));
    server.ask(&place, (ACCESS, SECRET), &["put", "k", "kept"]).expect(0);
    server.running.signal("TERM");
    server.running.end().expect(0);
    assert_eq!(place.run(["get", "photos/k"]).expect(0).stdout, "kept");
}

#[test]
fn every_profile_of_a_file_may_sign_and_the_environment_then_may_not() {
    let place = Place::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "[default]\naws_access_key_id = a\naws_secret_access_key = b\n[other]\naws_access_key_id = c\naws_secret_access_key = d\n";
    fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap();
    let arguments =
        ["serve", "s3", "--listen", "127.0.0.1:0", "--bucket", "photos", "--json", "--credentials", path];
    let server = Server::of(with_credentials(place.command(arguments), &place, ACCESS, SECRET));
    for keys in [("a", "b"), ("c", "d")] {
        server.ask(&place, keys, &["put", "k", "x"]).expect(0);
    }
    for keys in [("a", "d"), (ACCESS, SECRET)] {
        server.ask(&place, keys, &["put", "k", "y"]).refused(4, "");
    }
}

#[test]
fn without_sound_credentials_nothing_is_made_and_nobody_listens() {
    let place = Place::new();
    let serve = ["serve", "s3", "--listen", "127.0.0.1:0"];
    finish(&mut without_credentials(place.command(serve), &place)).refused(2, "needs credentials");
    finish(&mut with_credentials(place.command(serve), &place, ACCESS, "")).refused(2, "needs credentials");
    let refuse = |path: &str, words: &str| {
        let arguments = [&serve[..], &["--credentials", path]].concat();
        let said =
            finish(&mut with_credentials(place.command(arguments), &place, ACCESS, SECRET)).refused(2, words);
        assert!(!said.stderr.contains("hush"), "{said:?}");
    };
    refuse("/no/such/file", "cannot be read");
    let file = tempfile::NamedTempFile::new().unwrap();
    for (text, words) in [
        ("", "no profile"),
        ("[default]\nhush-hush\n", "line 2"),
        ("[default]\naws_secret_access_key = hush-hush\n", "aws_access_key_id"),
        ("[default]\naws_access_key_id = a/b\naws_secret_access_key = hush-hush\n", "access key"),
    ] {
        fs::write(file.path(), text).unwrap();
        refuse(file.path().to_str().unwrap(), words);
    }
    assert!(!place.path().exists(), "the store is not made before the call is known to be right");
}

#[test]
fn an_address_that_is_taken_and_a_bucket_that_cannot_be_are_told() {
    let place = Place::new();
    let server = Server::start(&place);
    let start = |arguments: &[&str]| {
        finish(&mut with_credentials(
            place.command([&["serve", "s3"], arguments].concat()),
            &place,
            ACCESS,
            SECRET,
        ))
    };
    start(&["--listen", &server.address]).refused(4, "cannot be listened on");
    start(&["--listen", "127.0.0.1:0", "--bucket", "Not A Bucket"]).refused(2, "no name of a bucket");
    start(&["--listen", "nonsense"]).expect(4);
}

#[test]
fn people_are_told_how_to_use_it() {
    let place = Place::new();
    let arguments = ["serve", "s3", "--listen", "127.0.0.1:0"];
    let running = Running::start(with_credentials(place.command(arguments), &place, ACCESS, SECRET));
    let said = running.line();
    assert!(said.contains("--endpoint-url http://127.0.0.1:"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
    running.signal("TERM");
    running.end().expect(0);
}
