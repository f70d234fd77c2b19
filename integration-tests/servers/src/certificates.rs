//! Certificates for servers of tests, made by openssl.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// `server.crt` and `server.key` for `localhost`, signed by `ca.crt`; and `other.crt`, which has nothing to do with them.
pub(crate) fn certificates(folder: &Path) -> Result<()> {
    let openssl = |args: &[&str]| {
        let mut openssl = Command::new("openssl");
        openssl.args(args).current_dir(folder);
        run(openssl).context("openssl (install the package openssl)")
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"];
    for (name, subject) in [("ca", "/CN=tidemill test authority"), ("other", "/CN=somebody else")] {
        let (out, keyout) = (format!("{name}.crt"), format!("{name}.key"));
        let mut args = vec!["req", "-x509", "-subj", subject, "-out", &out, "-keyout", &keyout];
        args.extend(key);
        args.extend(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
        openssl(&args)?;
    }
    let mut args = vec!["req", "-subj", "/CN=localhost", "-out", "server.csr", "-keyout", "server.key"];
    args.extend(&key[..5]);
    openssl(&args)?;
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")?;
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "30",
        "-extfile",
        "names",
        "-out",
        "server.crt",
    ])?;
    std::fs::set_permissions(folder.join("server.key"), std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// Runs a program to its end; the error holds what it said.
pub(crate) fn run(mut command: Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {program}"))?;
    if !done.status.success() {
        bail!("{program} failed ({}): {}", done.status, String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
