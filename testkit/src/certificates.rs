//! Certificates for tests of TLS, made by the openssl program: authorities, and what they certify.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A folder of PEM files: `NAME.pem` and `NAME.key`.
#[derive(Debug)]
pub struct Certificates(TempDir);

impl Certificates {
    /// An empty folder; `None`, with the reason printed, where there is no openssl.
    pub fn new() -> io::Result<Option<Self>> {
        if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
            let _ = writeln!(io::stderr(), "skipped: openssl is not installed");
            return Ok(None);
        }
        Ok(Some(Self(TempDir::new()?)))
    }

    /// Where it all lies.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes an authority that certifies itself.
    pub fn authority(&self, name: &str) -> io::Result<()> {
        let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        self.openssl(
            &[&["req", "-x509", "-days", "2", "-subj", &subject, "-keyout", &key, "-out", &pem], NEW_KEY].concat(),
        )
    }

    /// Makes a certificate with the common name `common_name` and one more extension, such as `subjectAltName=DNS:localhost`.
    pub fn certify(&self, name: &str, authority: &str, common_name: &str, extension: &str) -> io::Result<()> {
        let (key, request, pem) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let (ca, ca_key) = (format!("{authority}.pem"), format!("{authority}.key"));
        let subject = format!("/O=Forewarn/CN={common_name}");
        fs::write(self.path("extensions"), format!("basicConstraints=CA:FALSE\n{extension}\n"))?;
        self.openssl(&[&["req", "-subj", &subject, "-keyout", &key, "-out", &request], NEW_KEY].concat())?;
        let sign = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
        self.openssl(&[&sign[..], &["-days", "2", "-extfile", "extensions", "-out", &pem]].concat())
    }

    fn openssl(&self, arguments: &[&str]) -> io::Result<()> {
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr))))
    }
}

/// A key on a curve, which is made at once, and is not encrypted.
const NEW_KEY: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
