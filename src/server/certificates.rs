//! The certificate that the port presents, and the authorities whose clients it accepts. The files
//! are checked every few seconds, so that nobody has to tell the broker of new ones.
//!
//! New files are used once two checks have found the same content, because a certificate and its
//! key are not replaced at the same moment. Files that cannot be used are reported once, and the
//! previous ones stay in use.

use std::{
    future::pending,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{task::spawn_blocking, time::interval};
use tracing::{info, warn};

use crate::{
    env::{Clock, Env, FileSystem, Open},
    tls::{Acceptor, Clients, File, Prepared, Refused, Texts},
};

/// The interval between two checks of the files.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// More than any file of certificates has: 1,000 authorities take 2 MB.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// How many days before its end a certificate causes a warning, the last one first.
const WARN_DAYS: [i64; 4] = [0, 1, 7, 30];

const DAY_MS: i64 = 24 * 3_600_000;

/// The paths of the files, and how they are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) clients: Clients,
}

impl TlsFiles {
    fn path(&self, file: File) -> &Path {
        match file {
            File::Certificate => &self.certificate,
            File::Key => &self.key,
            File::ClientCa => self.client_ca.as_deref().unwrap_or(&self.certificate),
        }
    }
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} cannot be used: {problem}", path.display())]
pub(crate) struct Unusable {
    pub(crate) file: File,
    path: PathBuf,
    problem: String,
}

/// The files in use, and what the last check has found.
#[derive(Clone)]
pub(crate) struct Certificates {
    env: Env,
    files: TlsFiles,
    acceptor: Arc<Acceptor>,
    used: Texts,
    found: Option<Result<Texts, Unusable>>,
    said: Option<Unusable>,
    /// The number of days for which the last warning was given: of the broker's certificate, and
    /// of the clients' authorities.
    warned: [Option<i64>; 2],
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// If one of them cannot be used at this moment.
    pub(crate) fn load(env: Env, files: TlsFiles) -> Result<Self, Unusable> {
        let used = read(&*env.files, &files)?;
        let prepared = prepare(&used, &files, &*env.clock)?;
        let mut certificates = Self {
            env,
            files,
            acceptor: Arc::new(Acceptor::new(prepared)),
            used,
            found: None,
            said: None,
            warned: [None; 2],
        };
        certificates.warn_of_expiry();
        Ok(certificates)
    }

    /// Makes handshakes with the files in use, and knows until when these are valid.
    pub(crate) fn acceptor(&self) -> Arc<Acceptor> {
        Arc::clone(&self.acceptor)
    }

    /// Checks the files now and then, for ever.
    pub(super) async fn watch(self) {
        let mut period = interval(LOOK_EVERY);
        let mut certificates = self;
        loop {
            period.tick().await;
            let looked = spawn_blocking(move || {
                certificates.look();
                certificates
            });
            certificates = match looked.await {
                Ok(certificates) => certificates,
                // The process is shutting down.
                Err(_) => return pending().await,
            };
        }
    }

    pub(super) fn look(&mut self) {
        let found = read(&*self.env.files, &self.files);
        let is_settled = self.found.as_ref() == Some(&found);
        if found.as_ref() == Ok(&self.used) {
            self.said = None;
        } else if is_settled {
            self.use_files(found.clone());
        }
        self.found = Some(found);
        self.warn_of_expiry();
    }

    fn use_files(&mut self, found: Result<Texts, Unusable>) {
        let prepared = found.and_then(|texts| {
            let prepared = prepare(&texts, &self.files, &*self.env.clock)?;
            Ok((texts, prepared))
        });
        match prepared {
            Ok((texts, prepared)) => {
                self.acceptor.replace(prepared);
                self.used = texts;
                self.said = None;
                self.warned = [None; 2];
                info!(
                    "connections that begin from now on have the certificate that is in {} now",
                    self.files.certificate.display()
                );
            }
            Err(unusable) if self.said.as_ref() == Some(&unusable) => {}
            Err(unusable) => {
                warn!("{unusable}; what was read of the TLS files before is kept");
                self.said = Some(unusable);
            }
        }
    }

    fn warn_of_expiry(&mut self) {
        let now_ms = self.env.clock.now_ms();
        let certificate = (File::Certificate, Some(self.acceptor.not_after_ms()));
        let authorities = (File::ClientCa, self.acceptor.authorities_not_after_ms());
        let warned = self.warned.iter_mut();
        for ((file, not_after_ms), warned) in [certificate, authorities].into_iter().zip(warned) {
            let Some(not_after_ms) = not_after_ms else {
                continue;
            };
            let left_ms = not_after_ms - now_ms;
            let stage = stage(left_ms);
            if stage.is_some() && stage != *warned {
                let path = self.files.path(file).display();
                let then = match file {
                    File::ClientCa => "a start refuses it",
                    File::Certificate | File::Key => "clients do not take it",
                };
                match left_ms {
                    0.. => warn!(
                        "the certificate in {path} is valid for {} h more; put a new one there",
                        left_ms / 3_600_000
                    ),
                    _ => {
                        warn!("the certificate in {path} has expired: {then}; put a new one there");
                    }
                }
            }
            *warned = stage;
        }
    }
}

/// How many days are left, if that is worth a warning.
pub(super) fn stage(left_ms: i64) -> Option<i64> {
    let mut stages = WARN_DAYS.into_iter();
    stages.find(|days| left_ms < days * DAY_MS)
}

fn prepare(texts: &Texts, files: &TlsFiles, clock: &dyn Clock) -> Result<Prepared, Unusable> {
    let prepared = Prepared::new(texts, files.clients, clock.now_ms());
    prepared.map_err(|Refused { file, problem }| Unusable {
        file,
        path: files.path(file).to_owned(),
        problem: problem.to_string(),
    })
}

fn read(disk: &dyn FileSystem, files: &TlsFiles) -> Result<Texts, Unusable> {
    let read = |file: File| {
        let path = files.path(file);
        read_file(disk, path).map_err(|error| Unusable {
            file,
            path: path.to_owned(),
            problem: meaning(&error),
        })
    };
    Ok(Texts {
        certificate: read(File::Certificate)?,
        key: read(File::Key)?,
        client_ca: match files.client_ca {
            Some(_) => Some(read(File::ClientCa)?),
            None => None,
        },
    })
}

pub(super) fn read_file(disk: &dyn FileSystem, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Open::Read)?;
    let len = file.len()?;
    if len > MAX_FILE_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    file.read_vec_at(0, usize::try_from(len).unwrap_or(usize::MAX))
}

/// What a person does about a file that cannot be read.
pub(super) fn meaning(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "the user who runs the broker may not read it; give it to that user alone".to_owned()
        }
        _ => error.to_string(),
    }
}
