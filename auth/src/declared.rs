//! Users that the configuration declares, and the short forms in which people write them: `LANDFALL_USERS` and files of
//! public keys. Pure: the caller reads the environment and the files, `declare` next door stores the outcome.

use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::key::PublicKey;
use crate::secret::Secret;
use crate::user::Grant;

/// A user as the configuration has it.
#[derive(Debug, Clone, Default)]
pub struct DeclaredUser {
    /// Login name.
    pub name: String,
    /// Password in clear.
    pub password: Option<Secret>,
    /// Or its hash.
    pub password_hash: Option<String>,
    /// What the user's authenticator app shares, in base32.
    pub totp_secret: Option<Secret>,
    /// Public keys, one line each.
    pub public_keys: Vec<String>,
    /// Absolute path of the user's root on the storage; `None` means `/NAME`.
    pub home: Option<String>,
    /// Address for people.
    pub email: Option<String>,
    /// Own grant.
    pub grant: Grant,
    /// Groups, first wins.
    pub groups: Vec<String>,
    /// May not log in from then on.
    pub expires: Option<SystemTime>,
    /// May not log in.
    pub disabled: bool,
    /// Directories to be made in the home, relative to it. The database does not keep them.
    pub directories: Vec<String>,
}

/// Reads `name:password[:e][:uid[:gid[:dirs]]]`, separated by white space; lines that begin with `#` are passed over. Gives back the users, and sentences about what
/// was accepted but has no effect.
///
/// # Errors
/// [`Error::Declared`]. It never holds a part of the text, which may be a password.
pub fn parse_users(text: &str) -> Result<(Vec<DeclaredUser>, Vec<String>)> {
    let (mut users, mut warnings) = (Vec::new(), Vec::new());
    for (index, entry) in entries(text).enumerate() {
        let (user, has_ids) = parse_user(entry).map_err(|reason| Error::Declared { entry: index + 1, reason })?;
        if has_ids {
            warnings.push(format!("user {:?}: uid and gid have no effect; the server's own are used", user.name));
        }
        users.push(user);
    }
    Ok((users, warnings))
}

/// No name begins with `#`, so no entry is lost to a comment.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace)
}

fn parse_user(entry: &str) -> Result<(DeclaredUser, bool), &'static str> {
    let mut fields: Vec<&str> = entry.split(':').collect();
    let is_hash = fields.get(2) == Some(&"e");
    if is_hash {
        fields.remove(2);
    }
    let (name, password, ids, dirs) = match fields.as_slice() {
        [_] => return Err("a colon is missing between name and password; write NAME: for a user with keys only"),
        [name, password] => (name, password, &[][..], ""),
        [name, password, ids @ ..] if ids.len() <= 2 => (name, password, ids, ""),
        [name, password, uid, gid, dirs] => (name, password, &[*uid, *gid][..], *dirs),
        _ => return Err("there are too many colons; a password with a colon has to stand in the configuration file"),
    };
    if !crate::name::is_name(name) {
        return Err("the name is missing or not acceptable: A-Z a-z 0-9 . _ @ -, beginning with a letter or digit");
    }
    if ids.iter().any(|id| !id.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("uid and gid are numbers; a password with a colon has to stand in the configuration file");
    }
    let directories: Vec<String> = dirs.split(',').filter(|dir| !dir.is_empty()).map(str::to_owned).collect();
    if directories.iter().any(|dir| !is_below_home(dir)) {
        return Err("a directory must lie in the home: no leading / and no . or .. in its path");
    }
    let mut user = DeclaredUser { name: (*name).to_owned(), directories, ..DeclaredUser::default() };
    match (password.is_empty(), is_hash) {
        (true, _) => {}
        (false, true) => user.password_hash = Some((*password).to_owned()),
        (false, false) => user.password = Some(Secret::from(*password)),
    }
    Ok((user, ids.iter().any(|id| !id.is_empty())))
}

fn is_below_home(directory: &str) -> bool {
    !directory.starts_with('/')
        && !directory.contains(char::is_control)
        && directory.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Whose keys a file in the directory of public keys holds, by its path in there: `NAME.pub`, `NAME/ANYTHING.pub`,
/// `NAME/authorized_keys`. `None`: not a file of keys.
#[must_use]
pub fn key_owner(path: &str) -> Option<&str> {
    match path.split_once('/') {
        None => path.strip_suffix(".pub"),
        Some((name, file)) => {
            let holds_keys =
                file == "authorized_keys" || file.strip_suffix(".pub").is_some_and(|stem| !stem.is_empty());
            (holds_keys && !file.contains('/')).then_some(name)
        }
    }
    .filter(|name| crate::name::is_name(name))
}

/// Adds the keys of a file, one a line, to the user called `owner`; declares that user if nobody has. Blank lines and
/// those that begin with `#` are passed over.
///
/// # Errors
/// [`Error::KeyFile`], with `file` as its name.
pub fn add_keys(users: &mut Vec<DeclaredUser>, owner: &str, file: &str, text: &str) -> Result<()> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match PublicKey::parse(line) {
            Ok(_) => lines.push(line.to_owned()),
            Err(Error::InvalidKey(reason)) => {
                return Err(Error::KeyFile { file: file.to_owned(), line: index + 1, reason });
            }
            Err(other) => return Err(other),
        }
    }
    if let Some(user) = users.iter_mut().find(|user| user.name == owner) {
        user.public_keys.extend(lines);
    } else {
        users.push(DeclaredUser { name: owner.to_owned(), public_keys: lines, ..DeclaredUser::default() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYqez8RfdVHLExPKqR17ixxIJjrETdYdQgmbaS1kMRI";

    #[test]
    fn short_form() -> Result<()> {
        let (users, warnings) =
            parse_users("acme:secret  beta:$6$salt$x:e:1001\n\tgamma::1001:100:in,out/deep delta: eps:pw:::upload")?;
        let seen: Vec<_> = users
            .iter()
            .map(|user| {
                let password = user.password.as_ref().map(Secret::expose);
                (user.name.as_str(), password, user.password_hash.as_deref(), user.directories.join("|"))
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("acme", Some("secret"), None, String::new()),
                ("beta", None, Some("$6$salt$x"), String::new()),
                ("gamma", None, None, "in|out/deep".to_owned()),
                ("delta", None, None, String::new()),
                ("eps", Some("pw"), None, "upload".to_owned()),
            ]
        );
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains("uid")));
        Ok(())
    }

    #[test]
    fn comments_and_blank_lines_are_passed_over() -> Result<()> {
        let (users, _) = parse_users("# who may come in\n\nacme:secret\n  # beta:old\ngamma:s#cret\n")?;
        let names: Vec<_> = users.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(names, ["acme", "gamma"]);
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for bad in [
            "acme",
            ":pw",
            "../x:pw",
            "acme:hunter2:with:colons",
            "acme:hunter2:1:2:../up",
            "acme:a:1:2:/d",
            "a:hunter2:1:2:3:4",
        ] {
            let text = format!("good:pw {bad}");
            let told = match parse_users(&text) {
                Ok(users) => panic!("accepted: {users:?}"),
                Err(error) => error.to_string(),
            };
            assert!(told.starts_with("entry 2 "), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn whose_keys() {
        for (path, owner) in [
            ("acme.pub", Some("acme")),
            ("acme/laptop.pub", Some("acme")),
            ("acme/authorized_keys", Some("acme")),
            ("a.b.pub", Some("a.b")),
            ("acme/.pub", None),
            ("acme/id_ed25519", None),
            ("acme", None),
            (".pub", None),
            ("../x.pub", None),
            ("acme/deep/x.pub", None),
        ] {
            assert_eq!(key_owner(path), owner, "{path}");
        }
    }

    #[test]
    fn keys_go_to_declared_users_or_declare_one() -> Result<()> {
        let mut users = vec![DeclaredUser { name: "acme".to_owned(), ..DeclaredUser::default() }];
        add_keys(&mut users, "acme", "acme.pub", &format!("# laptop\n\n{KEY} a\r\n{KEY} b\n"))?;
        add_keys(&mut users, "beta", "beta.pub", KEY)?;
        let seen: Vec<_> = users.iter().map(|user| (user.name.as_str(), user.public_keys.len())).collect();
        assert_eq!(seen, [("acme", 2), ("beta", 1)]);
        let told = add_keys(&mut users, "acme", "acme.pub", &format!("{KEY}\nfrom=\"::1\" {KEY}"));
        assert!(matches!(told, Err(Error::KeyFile { line: 2, .. })), "{told:?}");
        Ok(())
    }
}
