//! Calls over HTTP, as curl and browsers make them, to the real binary.

mod bounds;
mod grants;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Serve, binary, free_port, temporary, text};

/// A broker, and its address for HTTP.
struct World {
    broker: Serve,
    address: String,
    dir: TempDir,
}

/// The response to a request.
struct Answer {
    status: u16,
    header: String,
    body: Vec<u8>,
}

impl World {
    fn start() -> Self {
        let dir = temporary();
        let broker = Serve::spawn(&mut serve(&dir.path().join("data")));
        Self::of(broker, dir)
    }

    /// A broker with this in its configuration file.
    fn configured(config: &str) -> Self {
        let dir = temporary();
        let file = dir.path().join("taffrail.toml");
        fs::write(&file, config).expect("there is room");
        let mut command = serve(&dir.path().join("data"));
        let broker = Serve::spawn(command.arg("--config").arg(file));
        Self::of(broker, dir)
    }

    fn of(broker: Serve, dir: TempDir) -> Self {
        let started: Value = serde_json::from_str(&broker.started).expect("it is JSON");
        let url = started["http_url"].as_str().expect("it is there");
        let address = url.strip_prefix("http://").expect("it has a scheme");
        Self {
            address: address.to_owned(),
            broker,
            dir,
        }
    }

    fn create(&self, topic: &str, args: &[&str]) {
        self.broker
            .succeed(&[&["topic", "create", topic], args].concat(), b"");
    }

    /// Sends a request with the header `Host`, on a connection that closes after the response.
    fn ask(&self, request: &str, headers: &[&str], body: &[u8]) -> Answer {
        let host = format!("Host: {}", self.address);
        self.ask_as(request, &[&[&*host], headers].concat(), body)
    }

    fn ask_as(&self, request: &str, headers: &[&str], body: &[u8]) -> Answer {
        let io = self.send(request, &[headers, &["Connection: close"]].concat(), body);
        Answer::read(io)
    }

    fn send(&self, request: &str, headers: &[&str], body: &[u8]) -> BufReader<TcpStream> {
        let mut io = TcpStream::connect(&self.address).expect("it listens");
        let mut head = format!("{request} HTTP/1.1\r\n");
        for header in headers {
            head.push_str(&format!("{header}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        io.write_all(head.as_bytes()).expect("it reads");
        // The broker may have refused the request already, and closed the connection.
        io.write_all(body).ok();
        BufReader::new(io)
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), &[], b"")
    }

    fn post(&self, topic: &str, lines: &str) -> Answer {
        let lines_follow = &["Content-Type: application/x-ndjson"];
        let request = format!("POST /v1/topics/{topic}/records");
        self.ask(&request, lines_follow, lines.as_bytes())
    }

    /// Begins a request whose response does not end.
    fn follow(&self, path: &str, headers: &[&str]) -> Following {
        let host = format!("Host: {}", self.address);
        let mut io = self.send(&format!("GET {path}"), &[&[&*host], headers].concat(), b"");
        let header = head(&mut io);
        assert!(header.starts_with("HTTP/1.1 200"), "{header}");
        Following {
            io,
            came: Vec::new(),
        }
    }
}

/// The command for a broker that announces its addresses as JSON.
fn serve(data: &Path) -> Command {
    let mut command = binary();
    command.args(["serve", "--log-format", "json", "--log-level", "error"]);
    command.args(["--listen", &free_port(), "--data-dir"]);
    command.arg(data);
    command
}

fn head(io: &mut impl BufRead) -> String {
    let mut header = String::new();
    while !header.ends_with("\r\n\r\n") {
        let read = io.read_line(&mut header).expect("it is text");
        assert!(read > 0, "it ends within its header: {header}");
    }
    header
}

/// The next chunk of a response; `None` after the last.
fn chunk(io: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut size = String::new();
    io.read_line(&mut size).ok()?;
    let size = usize::from_str_radix(size.trim(), 16).ok()?;
    let mut bytes = vec![0; size + 2];
    io.read_exact(&mut bytes).ok()?;
    bytes.truncate(size);
    (size > 0).then_some(bytes)
}

impl Answer {
    fn read(mut io: impl BufRead) -> Self {
        let header = head(&mut io);
        let mut body = Vec::new();
        if header.contains("transfer-encoding: chunked") {
            while let Some(chunk) = chunk(&mut io) {
                body.extend(chunk);
            }
        } else {
            io.read_to_end(&mut body).expect("it ends");
        }
        let status = header.split(' ').nth(1).and_then(|code| code.parse().ok());
        Self {
            status: status.expect("it has a status"),
            header,
            body,
        }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("it is text")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: {error}", self.text()))
    }

    fn lines(&self) -> Vec<Value> {
        let lines = self.text().lines();
        lines
            .map(|line| serde_json::from_str(line).expect("it is JSON"))
            .collect()
    }

    /// Asserts that the response is a problem with this status and reason; returns it.
    fn assert_problem(&self, status: u16, reason: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        let content_type = "\r\ncontent-type: application/problem+json\r\n";
        assert!(self.header.contains(content_type), "{}", self.header);
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["reason"], reason, "{problem}");
        problem
    }
}

/// A response that goes on.
struct Following {
    io: BufReader<TcpStream>,
    came: Vec<u8>,
}

impl Following {
    /// The next text, up to and including `end`; `None` if the response ends before that.
    fn next(&mut self, end: &str) -> Option<String> {
        loop {
            let came = String::from_utf8_lossy(&self.came).into_owned();
            if let Some(at) = came.find(end) {
                let next = came[..at + end.len()].to_owned();
                self.came.drain(..next.len());
                return Some(next);
            }
            self.came.extend(chunk(&mut self.io)?);
        }
    }

    /// The next line that is not empty; empty lines are heartbeats.
    fn line(&mut self) -> Value {
        loop {
            let line = self.next("\n").expect("it goes on");
            if !line.trim().is_empty() {
                return serde_json::from_str(&line).expect("it is JSON");
            }
        }
    }

    /// The next event with data: its id, and the data.
    fn event(&mut self) -> (String, Value) {
        loop {
            let event = self.next("\n\n").expect("it goes on");
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            if let Some(data) = field("data: ") {
                let id = field("id: ").expect("every event has one").to_owned();
                return (id, serde_json::from_str(data).expect("it is JSON"));
            }
        }
    }
}

#[test]
fn what_is_appended_is_read_as_consume_prints_it() {
    let world = World::start();
    world.create("t", &["--partitions", "2"]);
    let long = "a\u{1}\u{1f600}".repeat(3_000);
    let headers = json!({"name": "h", "value_base64": "/w=="});
    let lines = [
        json!({"key": "a", "value": "text \"with\" \n all", "type": "made", "timestamp_ms": -5}),
        json!({"key": "a"}),
        json!({"key_base64": "/w==", "value_base64": "AP8="}),
        json!({"value": "", "headers": [{"name": "h", "value": "x"}, headers, {"name": "e"}]}),
        json!({"key": "b", "value": {"total": 12}}),
        json!({"key": "b", "value": ["x", 1]}),
        json!({"key": "b", "value": long}),
        json!({}),
    ];
    let lines = lines.map(|line| format!("{line}\n")).concat();
    let appended = world.post("t", &lines);
    assert_eq!(appended.status, 200, "{}", appended.text());
    assert_eq!(appended.json()["records"], 8);

    let read = world.get("/v1/topics/t/records");
    assert_eq!(read.status, 200);
    assert!(
        read.header
            .contains("\r\ncontent-type: application/x-ndjson\r\n")
    );
    let consumed = world
        .broker
        .succeed(&["consume", "t", "--format", "json"], b"");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(read.text()), sorted(&text(&consumed)));
    let of_b = world.get("/v1/topics/t/keys/b");
    let values: Vec<Value> = of_b
        .lines()
        .iter()
        .map(|line| line["value"].clone())
        .collect();
    assert_eq!(
        values,
        [json!("{\"total\":12}"), json!("[\"x\",1]"), json!(long)]
    );
    let last = world.get("/v1/topics/t/keys/b?backward&max=1").lines();
    assert_eq!(last[0]["version"], 3);
    assert_eq!(world.get("/v1/topics/t/keys/%ff").lines().len(), 1);
    assert_eq!(
        world
            .get("/v1/topics/t/records?type=made&max=5")
            .lines()
            .len(),
        1
    );
    assert_eq!(world.get("/v1/topics/t/records?from=latest").text(), "");
}

#[test]
fn one_object_and_a_list_are_taken_too_and_topics_are_listed_as_the_command_prints_them() {
    let world = World::start();
    world.create("t", &[]);
    for body in [
        r#"{"key":"a","value":"1"}"#,
        r#" [{"key":"a"},{"key":"b"}] "#,
    ] {
        let json = &["Content-Type: application/json; charset=utf-8"];
        let appended = world.ask("POST /v1/topics/t/records", json, body.as_bytes());
        assert_eq!(appended.status, 200, "{}", appended.text());
    }
    let range = &world.post("t", "{\"key\":\"a\"}\n\n{\"key\":\"b\"}").json()["ranges"][0];
    assert_eq!(range["partition"], 0);
    assert_eq!(range["first_offset"], 3);
    assert_eq!(range["count"], 2);
    assert_eq!(range["versions"], json!([3, 2]));
    let topics = world.get("/v1/topics").json();
    assert_eq!(topics["more"], false);
    assert_eq!(
        topics["topics"],
        world.broker.json(&["topic", "list"])["topics"]
    );
}

#[test]
fn an_append_that_expects_another_version_is_a_conflict_with_the_actual_one() {
    let world = World::start();
    world.create("t", &[]);
    let first = "{\"key\":\"a\",\"value\":\"1\",\"expected_version\":0}\n";
    assert_eq!(world.post("t", first).status, 200);
    let both = format!("{{\"key\":\"b\"}}\n{first}");
    let problem = world.post("t", &both).assert_problem(409, "CONFLICT");
    assert_eq!(problem["code"], "ABORTED");
    let failed = json!([{"record": 1, "key": "a", "version": 1}]);
    assert_eq!(problem["failed"], failed);
    assert_eq!(world.get("/v1/topics/t/records").lines().len(), 1);
}

#[test]
fn what_is_wrong_is_told_as_a_problem() {
    let world = World::start();
    world.create("t", &[]);
    let unknown = world.get("/v1/topics/u/records");
    let problem = unknown.assert_problem(404, "UNKNOWN_TOPIC");
    assert_eq!(problem["metadata"]["topic"], "u");
    assert_eq!(problem["title"], "Not Found");
    world.get("/v1/nothing").assert_problem(404, "UNKNOWN_PATH");
    let put = world.ask("PUT /v1/topics/t/records", &[], b"");
    put.assert_problem(405, "METHOD_NOT_ALLOWED");
    assert!(
        put.header.contains("\r\nallow: GET, POST\r\n"),
        "{}",
        put.header
    );
    for (query, says) in [
        ("form=latest", "form"),
        ("from=noon", "noon"),
        ("from=1&from_time_ms=1", "from_time_ms"),
        ("partition=x", "partition"),
        ("max=0", "max"),
        ("follow=maybe", "follow"),
    ] {
        let refused = world.get(&format!("/v1/topics/t/records?{query}"));
        let problem = refused.assert_problem(400, "MALFORMED_REQUEST");
        let detail = problem["detail"].as_str().expect("it is text");
        assert!(detail.contains(says), "{query}: {detail}");
    }
    let behind = world.get("/v1/topics/t/records?from=7");
    behind.assert_problem(400, "OFFSET_OUT_OF_RANGE");
    for (line, says) in [
        (r#"{"key":"a"} x"#, "line 2"),
        (r#"{"kee":"a"}"#, "kee"),
        (r#"{"offset":1}"#, "offset"),
        (r#"{"value":12}"#, "value is 12"),
        (r#"{"value":"a","value_base64":"YQ=="}"#, "leave one out"),
        (r#"{"value_base64":"?"}"#, "base64"),
        (r#"{"expected_version":1}"#, "no key"),
    ] {
        let refused = world.post("t", &format!("{{\"key\":\"a\"}}\n{line}"));
        let problem = refused.assert_problem(400, "MALFORMED_REQUEST");
        let detail = problem["detail"].as_str().expect("it is text");
        assert!(detail.contains(says), "{line}: {detail}");
    }
    let large = vec![b' '; (4 << 20) + 1];
    let json = &["Content-Type: application/json"];
    let refused = world.ask("POST /v1/topics/t/records", json, &large);
    refused.assert_problem(413, "REQUEST_TOO_LARGE");
    assert_eq!(world.get("/v1/topics/t/records").text(), "");
}

#[test]
fn a_read_that_follows_gets_what_is_appended_until_the_broker_stops_and_says_why_it_ends() {
    let world = World::start();
    world.create("t", &[]);
    world.post("t", "{\"key\":\"a\",\"value\":\"1\"}\n");
    let mut lines = world.follow("/v1/topics/t/records?follow", &[]);
    assert_eq!(lines.line()["value"], "1");
    world.post("t", "{\"key\":\"a\",\"value\":\"2\"}\n");
    assert_eq!(lines.line()["value"], "2");
    let mut events = world.follow(
        "/v1/topics/t/records?follow&from=latest",
        &["Accept: text/event-stream"],
    );
    events.next("\n\n").expect("it begins");
    world.broker.ask_to_stop();
    loop {
        // Before the problem there is an event with the position.
        let event = events.next("\n\n").expect("it says why it ends");
        if event.starts_with("event: problem\ndata: {") {
            break;
        }
        assert!(event.starts_with("id: "), "{event}");
    }
    let last = lines.line();
    assert_eq!(last["problem"]["reason"], "SHUTTING_DOWN", "{last}");
    assert_eq!(lines.next("\n"), None);
    let mut rest = Vec::new();
    lines.io.read_to_end(&mut rest).ok();
    assert_eq!(text(&rest), "", "there is no end that looks like one");
    assert_eq!(world.broker.ended(), Some(0));
}

#[test]
fn events_go_on_behind_the_last_one_that_was_seen() {
    let world = World::start();
    world.create("t", &["--partitions", "3"]);
    world.post("t", "{\"key\":\"a\",\"value\":\"0\"}\n");
    let path = "/v1/topics/t/records?follow&from=latest";
    let accept = "Accept: text/event-stream";
    let mut events = world.follow(path, &[accept]);
    let opening = events.next("\n\n").expect("it begins");
    assert!(opening.starts_with("retry: 1000\nid: "), "{opening}");
    let began = opening.trim_end().rsplit(' ').next().expect("it has an id");
    let records: String = (1..30)
        .map(|nth| format!("{{\"key\":\"{nth}\",\"value\":\"{nth}\"}}\n"))
        .collect();
    world.post("t", &records);
    let mut seen: Vec<String> = Vec::new();
    let mut last = String::new();
    for _ in 1..15 {
        let (id, record) = events.event();
        seen.push(record["value"].as_str().expect("it is text").to_owned());
        last = id;
    }
    drop(events);
    let resumed = format!("Last-Event-ID: {last}");
    let mut events = world.follow(path, &[accept, &resumed]);
    for _ in 15..30 {
        let (_, record) = events.event();
        seen.push(record["value"].as_str().expect("it is text").to_owned());
    }
    seen.sort_by_key(|value| value.parse::<u32>().expect("it is a number"));
    let all: Vec<String> = (1..30).map(|nth| nth.to_string()).collect();
    assert_eq!(seen, all);

    // A client that has received no record resumes where its first read began.
    let resumed = format!("Last-Event-ID: {began}");
    let mut events = world.follow(path, &[accept, &resumed]);
    assert_ne!(events.event().1["value"], "0");
    world
        .broker
        .succeed(&["topic", "delete", "t", "--yes"], b"");
    world.create("t", &["--partitions", "3"]);
    let other = world.ask(&format!("GET {path}"), &[accept, &resumed], b"");
    other.assert_problem(400, "TOPIC_RECREATED");
}

#[test]
fn a_web_page_does_not_reach_it_unless_its_origin_is_listed() {
    let world =
        World::configured("[http]\norigins = \"https://shop.example, http://localhost:3\"\n");
    world.create("t", &[]);
    let lines = "Content-Type: application/x-ndjson";
    let record = b"{\"key\":\"a\"}\n";
    let append = "POST /v1/topics/t/records";
    for origin in ["https://evil.example", "null", "https://shop.example:8443"] {
        let origin = format!("Origin: {origin}");
        for request in ["GET /v1/topics", "OPTIONS /v1/topics", append] {
            let refused = world.ask(request, &[&origin, lines], record);
            refused.assert_problem(403, "ORIGIN_NOT_ALLOWED");
            assert!(
                !refused.header.contains("access-control"),
                "{}",
                refused.header
            );
        }
    }
    let picture = world.ask("GET /v1/topics", &["Sec-Fetch-Site: cross-site"], b"");
    picture.assert_problem(403, "ORIGIN_NOT_ALLOWED");
    assert_eq!(
        world.get("/v1/topics/t/records").text(),
        "",
        "nothing was appended"
    );

    let listed = "Origin: https://shop.example";
    let asked = ["Access-Control-Request-Method: POST", listed];
    let allowed = world.ask("OPTIONS /v1/topics/t/records", &asked, b"");
    assert_eq!(allowed.status, 204);
    let origin = "\r\naccess-control-allow-origin: https://shop.example\r\n";
    for says in [
        origin,
        "\r\naccess-control-allow-methods: GET, POST\r\n",
        "\r\naccess-control-allow-headers: authorization, content-type, last-event-id",
    ] {
        assert!(allowed.header.contains(says), "{}", allowed.header);
    }
    let appended = world.ask(append, &[listed, lines], record);
    assert_eq!(appended.status, 200);
    assert!(appended.header.contains(origin), "{}", appended.header);
    let unknown = world.ask("GET /v1/topics/u/records", &[listed], b"");
    unknown.assert_problem(404, "UNKNOWN_TOPIC");
    assert!(unknown.header.contains(origin), "{}", unknown.header);
}

#[test]
fn a_name_that_is_not_the_brokers_is_refused() {
    let world = World::configured("[http]\nhosts = \"broker.example, other.example:80\"\n");
    let (ip, port) = world.address.split_once(':').expect("it has a port");
    let ours = [
        world.address.clone(),
        format!("localhost:{port}"),
        "broker.example".to_owned(),
        "Broker.Example:7".to_owned(),
        "other.example:80".to_owned(),
        // The same: a browser leaves out the port that its scheme has by default.
        "other.example".to_owned(),
    ];
    for host in ours {
        let answer = world.ask_as("GET /v1/topics", &[&format!("Host: {host}")], b"");
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
    }
    let others = [
        format!("evil.example:{port}"),
        ip.to_owned(),
        format!("127.0.0.1:{port}"),
        "other.example:81".to_owned(),
        "other.example.org:80".to_owned(),
        String::new(),
    ];
    for host in others {
        let answer = world.ask_as("GET /v1/topics", &[&format!("Host: {host}")], b"");
        answer.assert_problem(421, "HOST_NOT_ALLOWED");
    }
    let none = world.ask_as("GET /v1/topics", &[], b"");
    none.assert_problem(421, "HOST_NOT_ALLOWED");
    let absolute = format!("GET http://evil.example:{port}/v1/topics");
    let absolute = world.ask(&absolute, &[], b"");
    absolute.assert_problem(421, "HOST_NOT_ALLOWED");
    // Health may be asked for under any host name.
    assert_eq!(world.ask_as("GET /livez", &["Host: x"], b"").status, 200);
    // A web page cannot read metrics by having its own host name resolve to this machine.
    assert_eq!(world.ask_as("GET /metrics", &["Host: x"], b"").status, 421);
}

#[test]
fn records_are_taken_only_as_what_no_form_can_send() {
    let world = World::start();
    world.create("t", &[]);
    let record = b"{\"key\":\"a\"}\n";
    for content_type in [
        "Content-Type: text/plain",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: multipart/form-data; boundary=x",
        "X: none",
    ] {
        let refused = world.ask("POST /v1/topics/t/records", &[content_type], record);
        refused.assert_problem(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    assert_eq!(world.get("/v1/topics/t/records").text(), "");
}

#[test]
fn a_broker_that_takes_no_calls_over_http_has_nothing_there() {
    let world = World::configured("[http]\ncalls = 0\n");
    assert_eq!(world.get("/v1/topics").status, 404);
    assert_eq!(world.get("/livez").status, 200);
}
