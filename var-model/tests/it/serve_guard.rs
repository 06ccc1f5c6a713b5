//! `var-model serve`: whom it lets in, what it refuses, and what it does when readers go away or a signal comes.

use std::io::{Read, Write};
use std::net::TcpStream;

use image::{GrayImage, ImageFormat, RgbImage};
use serde_json::{Value, json};
use var_tokenizer::random::Stream as Random;

use super::studio::{Studio, base64, edit, sample};
use super::wait::while_alive;

/// Places of the queue.
const PLACES: usize = 16;

fn png(image: &image::DynamicImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn foreign_hosts_and_origins_are_refused() {
    let studio = Studio::built_in();
    let (port, origin) = (studio.port, studio.origin());
    let body = sample(&[0], 1, 0).to_string();
    let kind = ("Content-Type", "application/json");
    let post = |headers: &[(&str, &str)]| studio.send("POST", "/api/sample", headers, body.as_bytes());
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        let (host, origin) = (format!("{host}:{port}"), format!("http://{host}:{port}"));
        assert_eq!(post(&[("Host", &host), ("Origin", &origin), kind]).status, 200, "{host}");
    }
    let own = format!("127.0.0.1:{port}");
    for host in
        ["evil.example", &format!("evil.example:{port}"), "127.0.0.1", &format!("10.0.0.1:{port}"), ""]
    {
        let headers = [("Host", host), ("Origin", &origin), kind];
        assert!(post(&headers).answer().refused(403).contains("Host"), "{host}");
        // Reading is refused too: the name of a foreign page may lead here.
        let read = studio.send("GET", "/api/model", &headers[..1], b"").answer();
        assert!(read.refused(403).contains("Host"), "{host}");
        assert!(read.header("content-security-policy").contains("default-src 'none'"));
    }
    let two = [("Host", own.as_str()), ("Host", "evil.example"), ("Origin", &origin), kind];
    assert!([400, 403].contains(&post(&two).status));
    for foreign in
        ["http://evil.example", "null", "https://127.0.0.1", &format!("https://{own}"), "http://localhost"]
    {
        assert!(post(&[("Host", &own), ("Origin", foreign), kind]).answer().refused(403).contains("Origin"));
        let read = studio.send("GET", "/api/model", &[("Host", &own), ("Origin", foreign)], b"");
        assert!(read.answer().refused(403).contains("Origin"), "{foreign}");
    }
    assert!(post(&[("Host", &own), kind]).answer().refused(403).contains("Origin"));
    for method in ["PUT", "DELETE", "OPTIONS"] {
        assert_eq!(studio.send(method, "/api/sample", &[("Host", &own)], b"").status, 403, "{method}");
    }
    let text = [("Host", own.as_str()), ("Origin", &origin), ("Content-Type", "text/plain")];
    assert!(post(&text).answer().refused(415).contains("JSON"));
}

#[test]
fn other_addresses_need_the_token() {
    let studio = Studio::start(&["--precision", "f32", "--host", "0.0.0.0"]);
    let token = studio.url.split("?token=").nth(1).unwrap().to_owned();
    assert!(token.len() >= 32 && studio.told().contains("token"));
    let host = format!("127.0.0.1:{}", studio.port);
    let get = |path: &str, more: &[(&str, &str)]| {
        studio.send("GET", path, &[&[("Host", host.as_str())], more].concat(), b"").answer()
    };
    let wrong = "0".repeat(token.len());
    for (path, header) in [
        ("/", None),
        ("/api/model", None),
        (&*format!("/?token={wrong}"), None),
        ("/?token=", None),
        (&*format!("/?token={}", &token[1..]), None),
        ("/", Some(("Cookie", format!("var-studio-{}={wrong}", studio.port)))),
        ("/", Some(("Cookie", format!("var-studio-1={token}")))),
        ("/", Some(("Authorization", format!("Bearer {wrong}")))),
    ] {
        let headers: Vec<_> = header.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert!(get(path, &headers).refused(401).contains("token"), "{path} {header:?}");
    }
    let welcome = get(&format!("/?token={token}"), &[]);
    assert_eq!((welcome.status, welcome.header("location")), (303, "/"));
    let cookie = welcome.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(get("/api/model", &[("Cookie", &format!("other=1; {cookie}"))]).status, 200);
    assert_eq!(get("/api/model", &[("Authorization", &format!("Bearer {token}"))]).status, 200);
    // The token does not replace the other checks.
    let headers = [("Host", host.as_str()), ("Cookie", cookie), ("Content-Type", "application/json")];
    let body = sample(&[0], 1, 0).to_string();
    let posted = studio.send("POST", "/api/sample", &headers, body.as_bytes()).answer();
    assert!(posted.refused(403).contains("Origin"));
    let named = [("Host", &*format!("rebound.example:{}", studio.port)), ("Cookie", cookie)];
    assert!(studio.send("GET", "/", &named, b"").answer().refused(403).contains("Host"));
}

#[test]
fn bad_uploads_are_refused_in_words() {
    let studio = Studio::built_in();
    let photo = |bytes: &[u8]| studio.post_bytes("/api/photo", bytes);
    let large = vec![7; (32 << 20) + 1];
    assert!(photo(&large).refused(413).contains("32 MB"));
    assert!(photo(b"").refused(400).contains("empty"));
    assert!(photo(b"GIF89a\x01\0\x01\0 and no more").refused(400).contains("the photo cannot be read"));
    assert!(photo(&[0xff; 999]).refused(400).contains("known format"));
    let wide = png(&GrayImage::new(8192, 2049).into());
    assert!(photo(&wide).refused(413).contains("8192 × 2049"));
    let whole = png(&RgbImage::new(40, 40).into());
    assert!(photo(&whole[..whole.len() / 2]).refused(400).contains("cannot be read"));

    let area = json!({ "box": [0.2, 0.2, 0.8, 0.8] });
    let edited = |photo: &[u8], area: &Value| studio.post("/api/edit", &edit(photo, "p.png", area));
    assert!(edited(&wide, &area).refused(413).contains("pixels"));
    assert!(edited(b"no image", &area).refused(400).contains("the photo"));
    for (area, part) in [
        (json!({}), "mask or a box"),
        (json!({ "mask": base64(&whole), "box": [0, 0, 1, 1] }), "mask or a box"),
        (json!({ "mask": "!" }), "base64"),
        (json!({ "mask": base64(b"no image") }), "the mask"),
        (json!({ "box": [0.5, 0.5, 0.5, 0.8] }), "no area"),
        (json!({ "box": [0, 0, 1, 7] }), "from 0 to 1"),
        (json!({ "box": [0, 0, 1, 1], "variants": 5 }), "1 to 4"),
        (json!({ "box": [0, 0, 1, 1], "class": 9 }), "classes 0 to 8"),
        (json!({ "box": [0, 0, 1, 1], "feather": -1 }), "expected a whole number from 0 on"),
    ] {
        let why = edited(&whole, &area).refused(400);
        assert!(why.contains(part), "{area}: {why}");
    }
    for (change, part) in [
        (json!({ "classes": [] }), "0 classes"),
        (json!({ "classes": [9] }), "classes 0 to 8"),
        (json!({ "classes": vec![0; 33] }), "33 classes"),
        (json!({ "per_class": 65 }), "65 images"),
        (json!({ "per_class": 0 }), "0 images"),
        (json!({ "top_p": 1.5 }), "top-p"),
        (json!({ "cfg": -1 }), "cfg"),
        (json!({ "seed": -1 }), "-1"),
        (json!({ "cfg": "much" }), "found \"much\", expected a number"),
    ] {
        let mut body = sample(&[0], 1, 0);
        change.as_object().unwrap().iter().for_each(|(key, value)| body[key] = value.clone());
        assert!(studio.post("/api/sample", &body).refused(400).contains(part), "{change}");
    }
    assert!(
        studio.post("/api/sample", &json!({ "padding": "x".repeat(70_000) })).refused(413).contains("64 kB")
    );
    let frames = |images: Value| {
        studio.post("/api/assemble", &json!({ "form": "gif", "columns": 1, "images": images }))
    };
    assert!(frames(json!([])).refused(400).contains("0 images"));
    assert!(frames(json!([[base64(&whole)], []])).refused(400).contains("same number of scales"));
    let other = png(&RgbImage::new(20, 20).into());
    assert!(frames(json!([[base64(&whole), base64(&other)]])).refused(400).contains("different sizes"));
    assert_eq!(studio.events("/api/sample", &sample(&[0], 1, 0)).last().unwrap()["event"], "done");
}

#[test]
fn a_full_queue_refuses_and_readers_that_go_away_make_room() {
    let mut studio = Studio::built_in();
    let long = sample(&[0, 1, 2, 3], 16, 0);
    let mut first = studio.stream("/api/sample", &long);
    first.until("step");
    let mut waiting: Vec<_> =
        (1..PLACES).map(|_| studio.stream("/api/sample", &sample(&[0], 1, 1))).collect();
    let place = waiting[PLACES - 2].next_event().unwrap();
    assert!(place["event"] == "queued" && place["ahead"].as_u64() >= Some(1), "{place}");
    let more = studio.stream("/api/sample", &sample(&[0], 1, 1));
    // The place of the first is taken until its last event is read, also if it is done by now.
    assert!(more.answer().refused(503).contains("too many requests"));
    // All go away but the last one, which comes to its turn.
    let mut last = waiting.pop().unwrap();
    drop(first);
    drop(waiting);
    assert_eq!(last.until("done")["images"].as_array().unwrap().len(), 1);
    assert!(studio.told().contains("ended early"), "{}", studio.told());
    // All places are free again, also those of requests that never had their turn.
    let (mut all, port) = (Vec::new(), studio.port);
    while_alive(std::slice::from_mut(&mut studio.child), "free places", || {
        let (stream, status) = post(port, &sample(&[0], 1, 2));
        if status == 200 {
            all.push(stream);
        }
        all.len() == PLACES
    });
}

/// Posts a sample to the server at `port`; the open connection, and the status.
fn post(port: u16, body: &Value) -> (TcpStream, u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let body = body.to_string();
    let head = format!(
        "POST /api/sample HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    (stream, std::str::from_utf8(&start[9..]).unwrap().parse().unwrap())
}

#[test]
fn two_hundred_random_requests_change_nothing_for_a_client_that_samples() {
    let studio = Studio::built_in();
    let random = Random::new("requests to the studio", 5);
    let own = format!("127.0.0.1:{}", studio.port);
    let good = sample(&[0], 1, 0).to_string();
    let body = sample(&[1, 2], 3, 4);
    let done = |events: Vec<Value>| events.last().unwrap()["images"].clone();
    let expected = done(studio.events("/api/sample", &body));
    let mut before = 0;
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            for _ in 0..6 {
                assert_eq!(done(studio.events("/api/sample", &body)), expected);
            }
        });
        for number in 0..200_u64 {
            let own_draws = random.at(number);
            let pick = |at: u64, of: usize| (own_draws.draw(at) * of as f64) as usize;
            let path =
                ["/", "/api/sample", "/api/edit", "/api/photo", "/api/assemble", "/api/model", "/%ff/.."]
                    [pick(0, 7)];
            let method = ["POST", "GET", "PUT", "HEAD", "TRACE"][pick(1, 5)];
            let host = [own.as_str(), "evil.example", "", "127.0.0.1:1"][pick(2, 4)];
            let origin = [studio.origin(), "http://evil.example".into(), "null".into()][pick(3, 3)].clone();
            let kind = ["application/json", "text/html", "application/json; charset=\u{7f}"][pick(4, 3)];
            let noise: Vec<u8> =
                (0..pick(5, 4000) as u64).map(|i| (own_draws.draw(100 + i) * 256.0) as u8).collect();
            let cut = &good.as_bytes()[..pick(6, good.len())];
            let bytes = [&noise[..], good.as_bytes(), cut, b"[[[[", b"{}", b"null"][pick(7, 6)];
            let mut headers = vec![("Host", host), ("Content-Type", kind)];
            if pick(8, 4) > 0 {
                headers.push(("Origin", &origin));
            }
            if pick(9, 6) == 0 {
                // Not HTTP at all, or a request that breaks off.
                let mut stream = TcpStream::connect(("127.0.0.1", studio.port)).unwrap();
                let _ = stream.write_all(&noise);
                continue;
            }
            let status = studio.send(method, path, &headers, bytes).status;
            assert!(status < 500 || status == 503, "{method} {path}: {status}");
            let foreign =
                headers.contains(&("Origin", "http://evil.example")) || headers.contains(&("Origin", "null"));
            if foreign || host != own {
                assert!([400, 403].contains(&status), "{method} {path} {headers:?}: {status}");
            }
            if number == 60 {
                before = studio.memory();
            }
        }
        client.join().unwrap();
    });
    let after = studio.memory();
    assert!(after < before + (200 << 20), "{} MB, then {} MB", before >> 20, after >> 20);
    assert_eq!(done(studio.events("/api/sample", &body)), expected);
}

#[test]
fn a_signal_ends_the_server_with_status_0_also_in_the_middle_of_work() {
    for signal in ["TERM", "INT"] {
        let mut studio = Studio::built_in();
        let mut stream = studio.stream("/api/sample", &sample(&[0, 1, 2, 3], 16, 0));
        stream.until("step");
        let mut waits = studio.stream("/api/sample", &sample(&[0], 1, 0));
        let _open = TcpStream::connect(("127.0.0.1", studio.port)).unwrap();
        studio.signal(signal);
        assert_eq!(studio.ended().code(), Some(0), "{}", studio.told());
        // Readers are told, or at least do not wait for ever.
        while stream.next_event().is_some() {}
        while waits.next_event().is_some() {}
    }
}
