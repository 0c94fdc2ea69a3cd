//! Why a configuration is refused.

/// Why a configuration cannot be used. The text names the setting, where it was given, and what to
/// do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("{file} is not TOML: {problem}")]
    NotToml { file: String, problem: String },
    #[error("{source_name}: {problem}")]
    Setting {
        source_name: String,
        problem: Problem,
    },
    #[error("{file}, line {line}: {problem}")]
    InFile {
        file: String,
        line: usize,
        problem: String,
    },
    #[error(
        "cannot listen on {listen:?}: {problem}; give an address and a port, such as 127.0.0.1:9640"
    )]
    Listen { listen: String, problem: String },
    #[error(
        "cannot listen on {listen:?} without encryption: other machines reach {address}, and anyone there could read \
         and delete everything; listen on 127.0.0.1, set tls.certificate and tls.key, or say \
         --insecure if that is \
         meant"
    )]
    Exposed {
        listen: String,
        address: std::net::IpAddr,
    },
    #[error("{source_name}: {name} has no effect without {missing}: set it as well")]
    Lacks {
        source_name: String,
        name: &'static str,
        missing: &'static str,
    },
    #[error(
        "memory.bytes is {whole} bytes, of which {rest} are left for the parts without a size of their own; they need \
         at least {needed}: set less for the others, or raise memory.bytes"
    )]
    MemoryTooSmall {
        whole: usize,
        rest: usize,
        needed: usize,
    },
}

/// What is wrong with the value of a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("there is no setting {name:?}{}", nearest.map(|it| format!("; did you mean {it:?}?")).unwrap_or_default())]
    Unknown {
        name: String,
        nearest: Option<&'static str>,
    },
    #[error("{name} cannot be {value:?}: {expected}")]
    Value {
        name: &'static str,
        value: String,
        expected: String,
    },
    #[error("{name} is a table or a list; it takes one value")]
    NotAValue { name: String },
}

impl Problem {
    /// The error for a setting that was given at `source`: a line of a file, a variable, or the
    /// command line.
    pub(super) fn at(self, source: &str) -> Error {
        Error::Setting {
            source_name: source.to_owned(),
            problem: self,
        }
    }
}
