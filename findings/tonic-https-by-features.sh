#!/usr/bin/env bash
# Whether tonic's client takes an https:// address over a connector of the program's own depends on the features that
# any other crate of the build asks for.
#
# Versions:  tonic 0.14.9 (Rust), hyper-util 0.1.20, tokio 1.54.1, tower 0.5.3.
# Behaviour: `Endpoint::connect_with_connector` takes a connector that does TLS itself. With the features
#            `channel` alone, an https:// address connects over it. With any of tonic's TLS features in the build the
#            same lines fail at the first connection ("Connecting to HTTPS without TLS enabled"), as tonic wants a TLS
#            configuration of its own then. Features are unified over a build: an exporter of telemetry that asks for
#            `tonic/tls-ring` breaks a client elsewhere in the program that was not touched.
# Seen on 2026-11-29, with a connector that connects a socket (no TLS is needed to see it):
#   features channel: connected
#   features channel, tls-ring: transport error: Connecting to HTTPS without TLS enabled
# Exits with 1 if that changes. Needs cargo.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir src

cat > Cargo.toml <<'TOML'
[package]
name = "seen"
edition = "2024"

[features]
# What another crate of the program may ask for.
other = ["tonic/tls-ring"]

[dependencies]
hyper-util = { version = "=0.1.20", features = ["tokio"] }
tokio = { version = "=1.54.1", features = ["macros", "net", "rt"] }
tonic = { version = "=0.14.9", default-features = false, features = ["channel"] }
tower = { version = "=0.5.3", features = ["util"] }
TOML

cat > src/main.rs <<'RS'
use std::{error::Error, io};

use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::{Endpoint, Uri};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let own = tower::service_fn(move |_: Uri| async move {
        // A program would do its TLS here.
        Ok::<_, io::Error>(TokioIo::new(TcpStream::connect(address).await?))
    });
    match Endpoint::from_static("https://broker.example").connect_with_connector(own).await {
        Ok(_) => println!("connected"),
        Err(error) => match error.source() {
            Some(source) => println!("{error}: {source}"),
            None => println!("{error}"),
        },
    }
    Ok(())
}
RS

cat > expected <<'TEXT'
features channel: connected
features channel, tls-ring: transport error: Connecting to HTTPS without TLS enabled
TEXT

{
    echo "features channel: $(cargo run --quiet)"
    echo "features channel, tls-ring: $(cargo run --quiet --features other)"
} | tee seen
diff expected seen && echo 'as found'
