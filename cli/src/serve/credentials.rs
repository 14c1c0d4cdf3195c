//! Who may sign: from the environment, or from a file as AWS's tools have it.

use std::path::Path;

use leasehold_s3_server::Credentials;

use crate::failure::Failure;

const NONE: &str = "an S3 server needs credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give \
                    --credentials FILE";

/// Those of `file`, or of the environment when there is none. Somebody can sign with each of them.
pub(super) fn find(file: Option<&Path>) -> Result<Vec<Credentials>, Failure> {
    let found = match file {
        None => environment(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
            .map(|one| vec![one]),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?;
            parse(&text).map_err(|flaw| Failure::usage(format!("{}: {flaw}", path.display())))
        }
    }?;
    match found.iter().find_map(Credentials::flaw) {
        Some(flaw) => Err(Failure::usage(flaw)),
        None => Ok(found),
    }
}

fn environment(get: impl Fn(&str) -> Option<String>) -> Result<Credentials, Failure> {
    let (Some(access_key), Some(secret_key)) = (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY"))
    else {
        return Err(Failure::usage(NONE));
    };
    let credentials = Credentials::new(access_key, secret_key);
    // Clients that are started from here send it too.
    Ok(match get("AWS_SESSION_TOKEN") {
        None => credentials,
        Some(token) => credentials.session_token(token),
    })
}

/// A profile that is being read.
#[derive(Default)]
struct Profile {
    name: String,
    access_key: Option<String>,
    secret_key: Option<String>,
    session_token: Option<String>,
}

impl Profile {
    fn finish(self) -> Result<Option<Credentials>, String> {
        match (self.access_key, self.secret_key) {
            (None, None) => Ok(None),
            (Some(access_key), Some(secret_key)) => {
                let credentials = Credentials::new(access_key, secret_key);
                Ok(Some(match self.session_token {
                    None => credentials,
                    Some(token) => credentials.session_token(token),
                }))
            }
            _ => Err(format!(
                "profile {:?} has one of aws_access_key_id and aws_secret_access_key and not the other",
                self.name
            )),
        }
    }
}

/// Every profile of a credentials file; each may sign. Nothing of a line is ever repeated in an error: it may be a secret.
fn parse(text: &str) -> Result<Vec<Credentials>, String> {
    let mut found = Vec::new();
    let mut profile = Profile { name: "default".into(), ..Profile::default() };
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let next = Profile { name: name.trim().to_owned(), ..Profile::default() };
            found.extend(std::mem::replace(&mut profile, next).finish()?);
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err(format!("line {number} is neither [profile] nor name = value"));
        };
        let value = Some(value.trim().to_owned());
        match name.trim().to_ascii_lowercase().as_str() {
            "aws_access_key_id" => profile.access_key = value,
            "aws_secret_access_key" => profile.secret_key = value,
            "aws_session_token" => profile.session_token = value,
            // Regions, outputs and the like are for clients.
            _ => {}
        }
    }
    found.extend(profile.finish()?);
    if found.is_empty() {
        return Err("no profile has aws_access_key_id and aws_secret_access_key; write one".into());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_of_a_file_may_sign() {
        let text = "# two\n[default]\naws_access_key_id = a\naws_secret_access_key=b=c\nregion = x\n\n[other]\nAWS_ACCESS_KEY_ID = d\naws_secret_access_key = e\n";
        let found = parse(text).unwrap();
        assert_eq!(found.iter().map(Credentials::access_key).collect::<Vec<_>>(), ["a", "d"]);
    }

    #[test]
    fn a_flaw_is_told_without_the_secret() {
        for (text, words) in [
            ("", "no profile"),
            ("[default]\n", "no profile"),
            ("[default]\nhush-hush\n", "line 2"),
            ("[p]\naws_secret_access_key = hush-hush\n[q]\n", "profile \"p\""),
        ] {
            let told = parse(text).unwrap_err();
            assert!(told.contains(words), "{told}");
            assert!(!told.contains("hush"), "{told}");
        }
    }

    #[test]
    fn half_of_a_pair_is_none() {
        assert!(environment(|name| (name == "AWS_ACCESS_KEY_ID").then(|| "a".into())).is_err());
        assert!(environment(|name| name.starts_with("AWS_").then(|| "a".into())).is_ok());
    }
}
