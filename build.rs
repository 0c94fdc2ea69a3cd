//! Compiles `proto/` with protox, so that no system package is needed to build.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    error::Error,
    fmt::Write,
    path::PathBuf,
    process::Command,
};

use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};

/// Messages that carry records stay undecoded: their hand-written forms are in `src/proto/wire.rs`.
const HAND_WRITTEN: [&str; 8] = [
    "AppendRequest",
    "AppendBatch",
    "ReadResponse",
    "ReadKeyResponse",
    "LatestRecord",
    "ConsumeResponse",
    "Records",
    "ImportRecordsRequest",
];

/// Messages whose fields are not looked at where they lie in others: whoever takes them apart later
/// refuses what it does not know then.
const TAKEN_APART_LATER: [&str; 2] = [".taffrail.v1.AppendBatch", ".taffrail.v1.Record"];

/// A message that is decoded apart from the request that it lies in, when there is room for it.
const DECODED_LATER: &str = "GroupOffsets";

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
        "taffrail/v1/broker.proto",
        "taffrail/v1/groups.proto",
        "taffrail/v1/tokens.proto",
        "taffrail/v1/admin.proto",
        "grpc/health/v1/health.proto",
    ];
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    tell_version()?;

    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut own = descriptors.clone();
    own.file.retain(|file| !is_of_google(file.package()));
    std::fs::write(out.join("taffrail_descriptor.bin"), own.encode_to_vec())?;
    std::fs::write(out.join("known_fields.rs"), known_fields(&descriptors)?)?;

    let mut builder = tonic_prost_build::configure()
        .bytes(".taffrail.v1")
        .btree_map(".")
        .build_transport(false)
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
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

/// Says which version this is, and which commit, for `taffrail version`.
///
/// TAFFRAIL_COMMIT names the commit where there is no repository, as in an image. Otherwise git is
/// asked, but only by a release build: in any other, every commit would compile everything anew.
#[expect(
    clippy::disallowed_methods,
    reason = "this runs before there is a broker: cargo says what is built, in the environment"
)]
fn tell_version() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=TAFFRAIL_COMMIT");
    let named = env::var("TAFFRAIL_COMMIT").unwrap_or_default();
    let commit = match env::var("PROFILE")?.as_str() {
        _ if !named.is_empty() => named,
        "release" => commit_of_git().unwrap_or_default(),
        _ => String::new(),
    };
    let mut version = env::var("CARGO_PKG_VERSION")?;
    if !commit.is_empty() {
        write!(version, " (commit {commit})")?;
    }
    println!("cargo:rustc-env=BUILT_FROM_COMMIT={commit}");
    println!("cargo:rustc-env=VERSION_TEXT={version}");
    Ok(())
}

/// The commit that is checked out; none without git, without a repository, or where this is only a
/// folder in the repository of something else.
fn commit_of_git() -> Option<String> {
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    // It changes with each commit and checkout.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo:rerun-if-changed={log}");
    Some(commit)
}

/// What git answers; none if it cannot.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// What others define, and other crates have.
fn is_of_google(package: &str) -> bool {
    package.starts_with("google.")
}

/// Source that says of each message whether it is checked for fields that it does not have, and
/// which it has: the requests, and what is in them. And which request each call takes.
fn known_fields(descriptors: &FileDescriptorSet) -> Result<String, Box<dyn Error>> {
    let mut messages = BTreeMap::new();
    let mut wanted = Vec::new();
    let mut source = String::new();
    let mut calls = String::new();
    for file in &descriptors.file {
        let package = format!(".{}", file.package());
        for service in file
            .service
            .iter()
            .filter(|_| file.package() == "taffrail.v1")
        {
            for method in &service.method {
                writeln!(
                    calls,
                    "    \"/taffrail.v1.{}/{}\" => Some(&{}),",
                    service.name(),
                    method.name(),
                    table(method.input_type())
                )?;
            }
        }
        for message in &file.message_type {
            collect(&package, message, &mut messages);
            if is_of_google(file.package()) {
                continue;
            }
            let name = message.name();
            let (module, is_ours) = match file.package() {
                "taffrail.v1" if HAND_WRITTEN.contains(&name) => ("wire::", true),
                "taffrail.v1" => ("", true),
                _ => ("health::", false),
            };
            let mut fields = "None".to_owned();
            if is_ours && (name.ends_with("Request") || name == DECODED_LATER) {
                wanted.push(format!("{package}.{name}"));
                fields = format!("Some(&{})", table(&format!("{package}.{name}")));
            }
            writeln!(
                source,
                "impl Received for crate::proto::{module}{name} {{ const FIELDS: Option<&'static Fields> = {fields}; }}",
            )?;
        }
    }
    let mut written = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if written.insert(name.clone()) {
            let message = &messages[&name];
            let within = within(message);
            let fields = message.field.iter().zip(&within).map(|(field, within)| {
                let holds = match within {
                    Some(name) => format!("Holds::Message(&{})", table(name)),
                    None if field.r#type() == Type::String => "Holds::Text".to_owned(),
                    None if field.r#type() == Type::Bytes => "Holds::Text".to_owned(),
                    None if field.r#type() == Type::Message => "Holds::Text".to_owned(),
                    None => "Holds::Numbers".to_owned(),
                };
                format!("({}, {holds})", field.number())
            });
            writeln!(
                source,
                "static {}: Fields = Fields {{ message: {:?}, size: {}, known: &[{}] }};",
                table(&name),
                message.name(),
                size(&name, message),
                fields.collect::<Vec<_>>().join(", ")
            )?;
            wanted.extend(within.into_iter().flatten());
        }
    }
    writeln!(
        source,
        "/// The fields of the request that the call with this path takes.\n\
         pub(crate) fn request_of(path: &str) -> Option<&'static Fields> {{\n    match path {{\n{calls}        _ => None,\n    }}\n}}",
    )?;
    Ok(source)
}

/// What a message takes when it is decoded, without what it refers to.
fn size(name: &str, message: &DescriptorProto) -> String {
    let is_entry = message
        .options
        .as_ref()
        .is_some_and(|options| options.map_entry());
    match name.strip_prefix(".taffrail.v1.") {
        Some(_) if is_entry => "size_of::<(String, String)>()".to_owned(),
        Some(name) if HAND_WRITTEN.contains(&name) => {
            format!("size_of::<crate::proto::wire::{name}>()")
        }
        Some(name) => format!("size_of::<crate::proto::{name}>()"),
        None => "0".to_owned(),
    }
}

/// For each field the name of the message that it holds, if that is looked at.
fn within(message: &DescriptorProto) -> Vec<Option<String>> {
    let mut names = Vec::new();
    for field in &message.field {
        let is_looked_at =
            field.r#type() == Type::Message && !TAKEN_APART_LATER.contains(&field.type_name());
        names.push(is_looked_at.then(|| field.type_name().to_owned()));
    }
    names
}

/// All messages by name, those within others too.
fn collect(
    scope: &str,
    message: &DescriptorProto,
    messages: &mut BTreeMap<String, DescriptorProto>,
) {
    let name = format!("{scope}.{}", message.name());
    for nested in &message.nested_type {
        collect(&name, nested, messages);
    }
    messages.insert(name, message.clone());
}

/// What the table of a message is called.
fn table(name: &str) -> String {
    name.trim_start_matches('.')
        .replace('.', "_")
        .to_uppercase()
}
