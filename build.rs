//! Compiles `proto/` with protox, so that no system package is needed to build.

use std::{env, error::Error, path::PathBuf};

use prost::Message;

/// Messages that carry records stay undecoded: their hand-written forms are in `src/proto/wire.rs`.
const HAND_WRITTEN: [&str; 5] = [
    "AppendRequest",
    "AppendBatch",
    "ReadResponse",
    "ReadKeyResponse",
    "LatestRecord",
];

#[expect(
    clippy::disallowed_methods,
    reason = "this runs before there is a broker: cargo says where to write, in the environment"
)]
fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "taffrail/v1/record.proto",
        "taffrail/v1/log.proto",
        "taffrail/v1/topics.proto",
        "taffrail/v1/entities.proto",
    ];
    println!("cargo:rerun-if-changed=proto");

    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    std::fs::write(
        out.join("taffrail_descriptor.bin"),
        descriptors.encode_to_vec(),
    )?;

    let mut builder = tonic_prost_build::configure()
        .bytes(".taffrail.v1")
        .btree_map(".taffrail.v1")
        .build_transport(false)
        .codec_path("crate::proto::codec::Codec");
    for name in HAND_WRITTEN {
        builder = builder.extern_path(
            format!(".taffrail.v1.{name}"),
            format!("crate::proto::wire::{name}"),
        );
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}
