//! Where a value on the command line comes from: the argument itself, a file, or stdin.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    pin::Pin,
};

use futures_util::stream::{self, StreamExt};
use leasehold::{Body, Bytes, Error, ErrorKind};
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt},
};

use crate::failure::Failure;

/// How much is read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A value as it was named: `TEXT`, `@FILE`, `-`; `@@TEXT` is text that starts with one `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Text(String),
    File(PathBuf),
    Stdin,
}

impl From<&str> for Input {
    fn from(argument: &str) -> Self {
        match argument.strip_prefix('@') {
            Some(text) if text.starts_with('@') => Self::Text(text.to_owned()),
            Some(path) => Self::File(path.into()),
            None if argument == "-" => Self::Stdin,
            None => Self::Text(argument.to_owned()),
        }
    }
}

impl Input {
    /// The argument, or stdin where there is none and nobody would have to type.
    pub(crate) fn or_stdin(argument: Option<&str>) -> Result<Self, Failure> {
        match argument {
            Some(argument) => Ok(argument.into()),
            None if io::stdin().is_terminal() => Err(Failure::usage(
                "no value is given; write it after the key, as @FILE, or - to type it on stdin",
            )),
            None => Ok(Self::Stdin),
        }
    }

    /// The value as a body; files and stdin are streamed.
    pub(crate) async fn body(self) -> Result<Body, Failure> {
        match self {
            Self::Text(text) => Ok(text.into()),
            Self::Stdin => Ok(streamed(tokio::io::stdin(), None, "stdin".to_owned())),
            Self::File(path) => {
                let name = path.display().to_string();
                let refuse = |error: io::Error| Failure::usage(format!("{name:?} cannot be read: {error}"));
                let file = File::open(&path).await.map_err(refuse)?;
                let metadata = file.metadata().await.map_err(refuse)?;
                if metadata.is_dir() {
                    return Err(Failure::usage(format!("{name:?} is a directory; name a file")));
                }
                // Pipes, and files of /proc, say 0 and mean "unknown".
                let size = Some(metadata.len()).filter(|size| metadata.is_file() && *size > 0);
                Ok(streamed(file, size, name))
            }
        }
    }

    /// The whole value in memory.
    pub(crate) async fn bytes(self) -> Result<Bytes, Failure> {
        Ok(self.body().await?.bytes().await?)
    }
}

fn streamed(source: impl AsyncRead + Send + 'static, size: Option<u64>, name: String) -> Body {
    let source: Pin<Box<dyn AsyncRead + Send>> = Box::pin(source);
    let chunks = stream::unfold(Some((source, name)), |state| async {
        let (mut source, name) = state?;
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        match source.read_buf(&mut chunk).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(Bytes::from(chunk)), Some((source, name)))),
            Err(error) => {
                let message = format!("reading {name:?} failed; nothing was written");
                Some((Err(Error::new(ErrorKind::Unexpected, message).because(error)), None))
            }
        }
    });
    Body::from_stream(chunks.fuse().boxed(), size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_names_its_source() {
        assert_eq!(Input::from("x"), Input::Text("x".into()));
        assert_eq!(Input::from(""), Input::Text(String::new()));
        assert_eq!(Input::from("-"), Input::Stdin);
        assert_eq!(Input::from("@a/b"), Input::File("a/b".into()));
        assert_eq!(Input::from("@@home"), Input::Text("@home".into()));
    }

    #[tokio::test]
    async fn a_file_is_streamed_with_its_size() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        io::Write::write_all(&mut file, &vec![7; 3 * CHUNK_BYTES + 1]).unwrap();
        let body = Input::File(file.path().into()).body().await.unwrap();
        assert_eq!(body.size(), Some(3 * CHUNK_BYTES as u64 + 1));
        assert_eq!(body.bytes().await.unwrap().len(), 3 * CHUNK_BYTES + 1);
    }
}
