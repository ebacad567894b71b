//! The very first start: one supplier with a generated password, and lines to paste. Printed once, never logged.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use landfall_auth::{Error, NewUser, Users, generate_password};

/// Name of the first supplier.
pub const FIRST_SUPPLIER: &str = "supplier";

/// The doors that stand open, with their real ports.
#[derive(Debug, Clone, Default)]
pub struct Doors {
    /// FTP with explicit TLS.
    pub ftp: Option<SocketAddr>,
    /// FTP in clear is let in too.
    pub plain_ftp: bool,
    /// FTP under TLS is offered.
    pub tls_ftp: bool,
    /// Implicit FTPS.
    pub ftps: Option<SocketAddr>,
    /// SFTP.
    pub sftp: Option<SocketAddr>,
    /// The self-signed certificate, where that is in use.
    pub own_certificate: Option<PathBuf>,
    /// SHA-256 of the certificate.
    pub certificate_fingerprint: Option<String>,
    /// Fingerprints of the SSH host keys.
    pub host_key_fingerprints: Vec<String>,
}

/// Where nobody is known yet, adds the first supplier; the text to print, with the password in it.
///
/// # Errors
/// What the user store says.
pub async fn welcome(users: &Users, doors: &Doors) -> Result<Option<String>, Error> {
    if !users.list().await?.is_empty() {
        return Ok(None);
    }
    let password = generate_password().ok_or(Error::InvalidPassword("the system has no randomness to give"))?;
    let new = NewUser { name: FIRST_SUPPLIER.to_owned(), password: Some(password.clone()), ..NewUser::default() };
    let user = users.add(new).await?;
    tracing::info!(user = user.name, "first start: supplier added; its password is on standard output, this once");
    Ok(Some(text(doors, password.expose())))
}

fn text(doors: &Doors, password: &str) -> String {
    let mut text = format!(
        "\n\
         Nobody was known here yet, so a first supplier was added. Its password is shown this once:\n\n  \
         user      {FIRST_SUPPLIER}\n  password  {password}\n\n\
         Lines to paste:\n\n"
    );
    for line in lines(doors, password) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "  {line}");
    }
    text.push('\n');
    for fingerprint in &doors.host_key_fingerprints {
        let _infallible = writeln!(text, "  SSH host key     {fingerprint}");
    }
    if let Some(fingerprint) = &doors.certificate_fingerprint {
        let _infallible = writeln!(text, "  TLS certificate  SHA256 {fingerprint}");
    }
    text.push_str("\nMore suppliers: landfall user add NAME --generate-password\n\n");
    text
}

fn lines(doors: &Doors, password: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(address) = doors.sftp {
        let (host, port) = (host(address, false), address.port());
        lines.push(format!("sftp -P {port} {FIRST_SUPPLIER}@{host}"));
    }
    let own = doors.own_certificate.as_ref().map(|path| quoted(&path.display().to_string()));
    let trust = |address: SocketAddr| match &own {
        Some(path) if host(address, true) == "localhost" => format!("--cacert {path} "),
        Some(_) => "--insecure ".to_owned(),
        None => String::new(),
    };
    let login = format!("--user {FIRST_SUPPLIER}:{password}");
    if let Some(address) = doors.ftp {
        let url = format!("ftp://{}:{}/", host(address, true), address.port());
        if doors.plain_ftp {
            lines.push(format!("curl -T photo.jpg {login} {url}"));
        }
        if doors.tls_ftp {
            lines.push(format!("curl -T photo.jpg --ssl-reqd {}{login} {url}", trust(address)));
        }
    }
    if let Some(address) = doors.ftps {
        let url = format!("ftps://{}:{}/", host(address, true), address.port());
        lines.push(format!("curl -T photo.jpg {}{login} {url}", trust(address)));
    }
    if let Some((address, scheme)) = doors.ftp.map(|a| (a, "ftp")).or(doors.ftps.map(|a| (a, "ftps"))) {
        let tls = match (&own, doors.tls_ftp || scheme == "ftps") {
            (_, false) => "set ftp:ssl-allow no; ".to_owned(),
            (Some(path), true) if host(address, true) == "localhost" => format!("set ssl:ca-file {path}; "),
            (Some(_), true) => "set ssl:verify-certificate no; ".to_owned(),
            (None, true) => String::new(),
        };
        let url = format!("{scheme}://{}:{}", host(address, true), address.port());
        lines.push(format!("lftp -u {FIRST_SUPPLIER},{password} -e \"{tls}put photo.jpg; bye\" {url}"));
    }
    lines
}

/// How to reach an address from this machine.
fn host(address: SocketAddr, in_url: bool) -> String {
    let ip = address.ip();
    if ip.is_unspecified() || ip.is_loopback() {
        // Of the loopback addresses only this name works for both families and stands in the certificate.
        return if ip.is_ipv6() && ip.is_loopback() && !in_url { "::1".to_owned() } else { "localhost".to_owned() };
    }
    if ip.is_ipv6() && in_url { format!("[{ip}]") } else { ip.to_string() }
}

/// A path as a shell and lftp take it.
fn quoted(path: &str) -> String {
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_'));
    if plain { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn doors() -> Doors {
        Doors {
            ftp: Some("0.0.0.0:2121".parse().unwrap()),
            plain_ftp: true,
            tls_ftp: true,
            ftps: None,
            sftp: Some("[::]:2022".parse().unwrap()),
            own_certificate: Some("./landfall-data/tls/cert.pem".into()),
            certificate_fingerprint: Some("AB:CD".to_owned()),
            host_key_fingerprints: vec!["SHA256:x".to_owned()],
        }
    }

    #[test]
    fn lines_to_paste() {
        let expected = [
            "sftp -P 2022 supplier@localhost",
            "curl -T photo.jpg --user supplier:pw ftp://localhost:2121/",
            "curl -T photo.jpg --ssl-reqd --cacert ./landfall-data/tls/cert.pem --user supplier:pw ftp://localhost:2121/",
            "lftp -u supplier,pw -e \"set ssl:ca-file ./landfall-data/tls/cert.pem; put photo.jpg; bye\" ftp://localhost:2121",
        ];
        assert_eq!(lines(&doors(), "pw"), expected);
        let text = text(&doors(), "pw");
        assert!(text.contains("SHA256:x") && text.contains("AB:CD") && text.contains("password  pw"));
    }

    #[test]
    fn lines_fit_the_doors() {
        let only =
            Doors { ftp: None, sftp: None, ftps: Some("192.0.2.1:990".parse().unwrap()), plain_ftp: false, ..doors() };
        let lines = lines(&only, "pw");
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.contains("ftps://192.0.2.1:990")), "{lines:?}");
        assert!(lines[0].contains("--insecure"), "{lines:?}");
    }

    #[tokio::test]
    async fn only_where_nobody_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let config = crate::config::Config { data_dir: directory.path().to_owned(), ..Default::default() };
        let users = crate::people::open(&config).await.unwrap();
        let text = welcome(&users, &doors()).await.unwrap().unwrap();
        assert!(users.get(FIRST_SUPPLIER).await.unwrap().has_password);
        assert!(text.contains("supplier"));
        assert!(welcome(&users, &doors()).await.unwrap().is_none());
    }
}
