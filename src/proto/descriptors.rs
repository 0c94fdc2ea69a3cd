//! The content of compiled `.proto` descriptors, to be looked up by name.

use bytes::Bytes;
use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// A `.proto` file.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// The path by which other files import it.
    pub(crate) name: String,
    /// Its encoded `google.protobuf.FileDescriptorProto`.
    pub(crate) encoded: Bytes,
    /// The full names of everything that the file defines.
    pub(crate) symbols: Vec<String>,
    /// The full names of its services.
    pub(crate) services: Vec<String>,
    /// The full names of its messages.
    pub(crate) messages: Vec<String>,
}

/// The files of an encoded `google.protobuf.FileDescriptorSet`; empty if the bytes are none.
pub(crate) fn files(set: &[u8]) -> Vec<File> {
    let set = FileDescriptorSet::decode(set).unwrap_or_default();
    set.file.into_iter().map(File::new).collect()
}

impl File {
    fn new(mut descriptor: FileDescriptorProto) -> Self {
        // The generator may have left out the folder, which follows from the package.
        if !descriptor.name().contains('/') {
            let folder = descriptor.package().replace('.', "/");
            descriptor.name = Some(format!("{folder}/{}", descriptor.name()));
        }
        let mut file = Self {
            name: descriptor.name().to_owned(),
            encoded: descriptor.encode_to_vec().into(),
            symbols: Vec::new(),
            services: Vec::new(),
            messages: Vec::new(),
        };
        let package = descriptor.package();
        for message in &descriptor.message_type {
            file.add_message(package, message);
        }
        for values in &descriptor.enum_type {
            file.add_enum(package, values);
        }
        for service in &descriptor.service {
            let name = file.add(package, service.name());
            for method in &service.method {
                file.add(&name, method.name());
            }
            file.services.push(name);
        }
        file
    }

    fn add(&mut self, scope: &str, name: &str) -> String {
        let name = format!("{scope}.{name}");
        self.symbols.push(name.clone());
        name
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto) {
        let name = self.add(scope, message.name());
        for field in &message.field {
            self.add(&name, field.name());
        }
        for oneof in &message.oneof_decl {
            self.add(&name, oneof.name());
        }
        for nested in &message.nested_type {
            self.add_message(&name, nested);
        }
        for values in &message.enum_type {
            self.add_enum(&name, values);
        }
        self.messages.push(name);
    }

    fn add_enum(&mut self, scope: &str, values: &EnumDescriptorProto) {
        self.add(scope, values.name());
        for value in &values.value {
            // In protobuf, an enum's values are named in the scope around the enum.
            self.add(scope, value.name());
        }
    }
}
